"""Content keys: the same content has the same key in every process.

BLAKE3-256 over typed fields with their lengths, so that no two different sequences of fields have the same encoding.
"""

from __future__ import annotations

from collections.abc import Iterator

from blake3 import blake3


def content_key(*fields: bytes | str | int) -> str:
    """64 hexadecimal digits. Order and type count: `1`, `"1"` and `b"1"` are three different fields.

    Raises TypeError for a field of any other type, including bool.
    """
    digest = blake3()
    for piece in framed(fields):
        digest.update(piece)
    return digest.hexdigest()


def framed(fields: tuple[bytes | str | int, ...]) -> Iterator[bytes]:
    """For each field one byte for its type, eight for its length (big-endian), and its content."""
    for field in fields:
        kind, content = _content(field)
        yield kind + len(content).to_bytes(8, "big")
        yield content


def _content(field: bytes | str | int) -> tuple[bytes, bytes]:
    if isinstance(field, bytes):
        return b"b", field
    if isinstance(field, str):
        # lone surrogates are legal in JSON strings and must not fail a request here
        return b"s", field.encode("utf-8", "surrogatepass")
    if isinstance(field, int) and not isinstance(field, bool):
        return b"i", str(field).encode()
    raise TypeError(f"a key's field is bytes, str or int, not {type(field).__name__}")

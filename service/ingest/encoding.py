"""Content-Encoding as browsers read it: gzip and deflate are decoded, within a bound; a label that encodes nothing is
passed over. Object stores send such ones for files that are nothing but files: `aws-chunked`, `utf-8`, `base64`, or an
empty one.

Source: RFC 9110 §8.4.1.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

_GZIP = frozenset({"gzip", "x-gzip"})
_REFUSED = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz"})
"""Codings that are real and not decoded here; every other name encodes nothing."""


class BadEncoding(ValueError):
    """The message completes `The image's server sent a body …`."""


class Plain:
    """A body that is what it seems to be."""

    def feed(self, piece: bytes) -> bytes:
        return piece

    def end(self) -> None:
        return


class Inflater:
    """A gzip or deflate stream, piece by piece, up to `most_bytes` and one more."""

    def __init__(self, coding: str, most_bytes: int) -> None:
        self._coding = coding
        self._left = most_bytes + 1
        self._stream: zlib._Decompress | None = None
        self._head = b""

    def feed(self, piece: bytes) -> bytes:
        """The bytes that can be told by now. Raises BadEncoding."""
        if self._stream is None:
            self._head += piece
            if len(self._head) < 2:
                return b""
            self._stream, piece = zlib.decompressobj(_window(self._coding, self._head)), self._head
        if self._left == 0 or self._stream.eof:
            return b""
        try:
            inflated = self._stream.decompress(piece, self._left)
        except zlib.error:
            raise BadEncoding(f"that is not what its Content-Encoding ({self._coding}) says") from None
        self._left -= len(inflated)
        return inflated

    def end(self) -> None:
        """Raises BadEncoding when the stream has not ended."""
        if self._stream is None or not self._stream.eof:
            raise BadEncoding(f"whose Content-Encoding ({self._coding}) ends too early")


def decoder(labels: Iterable[str], most_bytes: int) -> Plain | Inflater:
    """For a body with these Content-Encoding headers. Raises BadEncoding for codings that are not decoded here."""
    codings = [name.strip().lower() for label in labels for name in label.split(",")]
    real = [name for name in codings if name in _GZIP or name == "deflate" or name in _REFUSED]
    if not real:
        return Plain()
    if len(real) > 1:
        raise BadEncoding("that was compressed more than once, although it was not asked to compress")
    (coding,) = real
    if coding in _REFUSED:
        raise BadEncoding(
            f"with the Content-Encoding {coding}, although it was not asked to compress; gzip and deflate are decoded"
        )
    return Inflater(coding, most_bytes)


def _window(coding: str, head: bytes) -> int:
    """For zlib. What is called deflate has zlib's two bytes of head, or, from some servers, none."""
    if coding in _GZIP:
        return 16 + zlib.MAX_WBITS
    framed = head[0] & 0x0F == 8 and int.from_bytes(head[:2]) % 31 == 0
    return zlib.MAX_WBITS if framed else -zlib.MAX_WBITS

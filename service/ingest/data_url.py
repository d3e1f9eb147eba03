"""Data URLs to bytes: `data:image/…;base64,…`, and what clients make of it.

Payloads are read by the rule of browsers, which forgives white space, percent signs and missing padding, and the
letters of base64url are read as well. What is written by the book is decoded in one call, and only where that fails is
it looked at more closely.

Sources: RFC 2397; https://fetch.spec.whatwg.org/#data-url-processor; https://infra.spec.whatwg.org/#forgiving-base64-decode;
RFC 4648 §5.
"""

from __future__ import annotations

import binascii
import re
from contextlib import suppress

import pybase64

from service.errors import ImageTooLarge, InvalidDataURL

_LONGEST_HEAD = 256
_EXPECTED = "expected data:image/<type>;base64,<data>"
_ANY_TYPE = frozenset(
    ("", "image", "application/octet-stream", "binary/octet-stream", "none", "null", "undefined")
)
"""Types that say nothing of the format, which the bytes decide anyway: object stores' default among them, and what
Python and JavaScript write for a type that they do not know."""
_LONGEST_QUOTE = 40

_BLANKS = b" \t\n\f\r"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_NO_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")

_TO_QUOTED_PRINTABLE = bytes.maketrans(b"%=", b"=\x80")
_FROM_QUOTED_PRINTABLE = bytes.maketrans(b"\x80", b"=")
_PIECE = 2**20
"""Bytes that are percent-decoded in one call, which other threads wait for."""
_BEGINNING = 2**18
"""Characters, a multiple of 4: metadata and all, the headers of nearly every JPEG are within their 192 KiB."""


def decode_data_url(url: str, *, max_bytes: int, path: str) -> bytes:
    """The decoded payload. The declared type must not be that of something else than an image: the bytes decide the
    format later.

    Raises InvalidDataURL, and ImageTooLarge before anything is decoded; both carry `path`.
    """
    start = _checked_head(url, path)
    if _size(url, start) <= max_bytes:
        with suppress(ValueError):
            return pybase64.b64decode(url[start:], validate=True)
    return _forgiving(url[start:], max_bytes, path)


def decode_beginning(url: str, *, max_bytes: int, path: str) -> tuple[bytes, int] | None:
    """The first bytes of a long payload, and the number of all that it decodes to if the rest is base64 as well.

    None where that cannot be said without decoding all: the payload is short, has more than `max_bytes`, or does not
    begin as base64 by the book. Raises InvalidDataURL for the head, with `path`.
    """
    start = _checked_head(url, path)
    size = _size(url, start)
    if len(url) - start <= _BEGINNING or size > max_bytes:
        return None
    try:
        return pybase64.b64decode(url[start : start + _BEGINNING], validate=True), size
    except ValueError:
        return None


def _checked_head(url: str, path: str) -> int:
    """Where the payload begins. Raises InvalidDataURL."""
    comma = url.find(",", 0, _LONGEST_HEAD)
    if comma < 0:
        raise InvalidDataURL(
            f"The data URL has no comma among its first {_LONGEST_HEAD} characters: {_EXPECTED}.", param=path
        )
    _check_head(url[:comma], path)
    return comma + 1


def _check_head(head: str, path: str) -> None:
    kind, *parameters = (part.strip(" \t\n\f\r").lower() for part in head[len("data:") :].split(";"))
    if kind not in _ANY_TYPE and not kind.startswith("image/"):
        quoted = ascii(kind[:_LONGEST_QUOTE] + ("…" if len(kind) > _LONGEST_QUOTE else ""))
        raise InvalidDataURL(
            f"The data URL declares the type {quoted}, which is not an image type: {_EXPECTED}.", param=path
        )
    if parameters[-1:] != ["base64"]:
        raise InvalidDataURL(
            f"The data URL does not end its type with ;base64, and other data is not accepted: {_EXPECTED}.",
            param=path,
        )


def _size(url: str, start: int) -> int:
    """Bytes that the payload from `start` on decodes to if it is written by the book, and no fewer than it does."""
    padding = url.endswith("=", start) + url.endswith("==", start)
    return (len(url) - start) * 3 // 4 - padding


def _forgiving(payload: str, max_bytes: int, path: str) -> bytes:
    try:
        text = payload.encode("ascii")
    except UnicodeEncodeError:
        raise _invalid("it holds a character that is not ASCII", path) from None
    text = text.translate(_URL_SAFE, _BLANKS)
    if b"%" in text:
        text = _percent_decoded(text).translate(_URL_SAFE, _BLANKS)
    letters = text.rstrip(b"=")
    if (size := len(letters) * 3 // 4) > max_bytes:
        raise ImageTooLarge(
            f"The image has {size} bytes; at most {max_bytes} are allowed (max_image_bytes).", param=path
        )
    missing, padding = -len(letters) % 4, len(text) - len(letters)
    if missing < 3 and padding in (0, missing):
        with suppress(ValueError):
            return pybase64.b64decode(letters + b"=" * missing, validate=True)
    raise _invalid(_reason(letters, padding), path)


def _percent_decoded(text: bytes) -> bytes:
    """ASCII without white space; comes back as it is when a percent sign in it encodes no ASCII character."""
    pieces, begin = [], 0
    while begin < len(text):
        end = begin + _PIECE
        # no escape is cut
        if end < len(text) and (cut := text.rfind(b"%", end - 2, end)) >= 0:
            end = cut
        # quoted-printable is percent-encoding by another sign, and the one that the standard library decodes in C
        piece = text[begin:end].translate(_TO_QUOTED_PRINTABLE)
        plain = binascii.a2b_qp(piece)
        padding, plain = plain.count(b"\x80"), plain.translate(_FROM_QUOTED_PRINTABLE)
        whole = len(piece) - len(plain) == 2 * piece.count(b"=")
        if not whole or padding != piece.count(b"\x80") or not plain.isascii():
            return text
        pieces.append(plain)
        begin = end
    return b"".join(pieces)


def _reason(letters: bytes, padding: int) -> str:
    """Which rule a payload breaks that could not be decoded."""
    if (found := _NO_BASE64.search(letters)) is not None:
        match found[0]:
            case b"=":
                return "it has padding (=) before its end"
            case b"%":
                return "it has a percent sign that encodes no ASCII character"
            case other:
                return f"it holds the character {ascii(other.decode('latin-1'))}"
    if len(letters) % 4 == 1:
        return f"no data has {len(letters)} characters in base64; it may have been cut off"
    return f"it ends with {padding} padding characters (=) where {-len(letters) % 4} belong"


def _invalid(why: str, path: str) -> InvalidDataURL:
    return InvalidDataURL(
        f"The data URL's payload is not valid base64: {why}. Its characters are A–Z, a–z, 0–9, + and / (or - and _); "
        "white space and missing padding do not matter.",
        param=path,
    )

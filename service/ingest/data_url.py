"""Data URLs to bytes: `data:image/…;base64,…`, and what clients make of it.

Payloads are read by the rule of browsers, which forgives white space, percent signs and missing padding, and the
letters of base64url are read as well. What is written by the book is decoded in one call, and only where that fails is
it looked at more closely.

Sources: RFC 2397; https://fetch.spec.whatwg.org/#data-url-processor; https://infra.spec.whatwg.org/#forgiving-base64-decode;
RFC 4648 §5.
"""

from __future__ import annotations

import re
from contextlib import suppress

import pybase64

from service.errors import ImageTooLarge, InvalidDataURL

_LONGEST_HEAD = 256
_EXPECTED = "expected data:image/<type>;base64,<data>"
_ANY_TYPE = frozenset({"", "image", "application/octet-stream", "binary/octet-stream"})
"""Types that say nothing of the format, which the bytes decide anyway; the last is object stores' default."""
_LONGEST_QUOTE = 40

_BLANKS = b" \t\n\f\r"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_ESCAPES = {
    f"%{ord(character):02{case}}".encode(): character.encode()
    for character in "+/=-_ \t\n\f\r"
    for case in "xX"
}
"""What percent-encoding makes of base64 and of white space; letters and digits stay as they are."""
_NO_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")


def decode_data_url(url: str, *, max_bytes: int, path: str) -> bytes:
    """The decoded payload. The declared type must not be that of something else than an image: the bytes decide the
    format later.

    Raises InvalidDataURL, and ImageTooLarge before anything is decoded; both carry `path`.
    """
    comma = url.find(",", 0, _LONGEST_HEAD)
    if comma < 0:
        raise InvalidDataURL(
            f"The data URL has no comma among its first {_LONGEST_HEAD} characters: {_EXPECTED}.", param=path
        )
    _check_head(url[:comma], path)
    if _size(url, comma + 1) <= max_bytes:
        with suppress(ValueError):
            return pybase64.b64decode(url[comma + 1 :], validate=True)
    return _forgiving(url[comma + 1 :], max_bytes, path)


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
    if b"%" in text:
        for escape, character in _ESCAPES.items():
            text = text.replace(escape, character)
    text = text.translate(_URL_SAFE, _BLANKS)
    letters = text.rstrip(b"=")
    if (size := len(letters) * 3 // 4) > max_bytes:
        raise ImageTooLarge(
            f"The image has {size} bytes; at most {max_bytes} are allowed (max_image_bytes).", param=path
        )
    _check_letters(letters, len(text) - len(letters), path)
    return pybase64.b64decode(letters + b"=" * (-len(letters) % 4), validate=True)


def _check_letters(letters: bytes, padding: int, path: str) -> None:
    if (found := _NO_BASE64.search(letters)) is not None:
        if found[0] == b"=":
            raise _invalid("it has padding (=) before its end", path)
        if found[0] == b"%":
            raise _invalid("it has a percent sign that encodes none of + / = - _ and white space", path)
        raise _invalid(f"it holds the character {ascii(found[0].decode('ascii'))}", path)
    if len(letters) % 4 == 1:
        raise _invalid(f"no data has {len(letters)} characters in base64; it may have been cut off", path)
    if padding and padding != -len(letters) % 4:
        raise _invalid(
            f"it ends with {padding} padding characters (=) where {-len(letters) % 4} belong", path
        )


def _invalid(why: str, path: str) -> InvalidDataURL:
    return InvalidDataURL(
        f"The data URL's payload is not valid base64: {why}. Its characters are A–Z, a–z, 0–9, + and / (or - and _); "
        "white space and missing padding do not matter.",
        param=path,
    )

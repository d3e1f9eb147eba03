"""Data URLs (RFC 2397) to bytes: `data:image/…;base64,…` only."""

from __future__ import annotations

import re

import pybase64

from service.errors import ImageTooLarge, InvalidDataURL

_LONGEST_HEAD = 256
_HEAD = re.compile(r"data:(?P<type>[^;,]*)(?P<parameters>(?:;[^;,]*)*)", re.IGNORECASE)
_IMAGE_TYPE = re.compile(r"image/[a-z0-9][a-z0-9.+-]*", re.IGNORECASE)
_EXPECTED = "expected data:image/<type>;base64,<data>"


def decode_data_url(url: str, *, max_bytes: int, path: str) -> bytes:
    """The decoded payload. Of the declared type only `image/` is checked: the bytes decide the format later.

    Raises InvalidDataURL, and ImageTooLarge before anything is decoded; both carry `path`.
    """
    comma = url.find(",", 0, _LONGEST_HEAD)
    head = _HEAD.fullmatch(url, 0, comma) if comma >= 0 else None
    if head is None:
        raise InvalidDataURL(f"The data URL is malformed: {_EXPECTED}.", param=path)
    if not _IMAGE_TYPE.fullmatch(head["type"]):
        raise InvalidDataURL(f"The data URL does not declare an image type: {_EXPECTED}.", param=path)
    if head["parameters"].lower().rpartition(";")[2] != "base64":
        raise InvalidDataURL(
            f"The data URL is not base64 (percent-encoded data is not accepted): {_EXPECTED}.", param=path
        )
    return _decoded(url, comma + 1, max_bytes, path)


def _decoded(url: str, start: int, max_bytes: int, path: str) -> bytes:
    padding = url.endswith("=", start) + url.endswith("==", start)
    size = (len(url) - start) * 3 // 4 - padding
    if size > max_bytes:
        raise ImageTooLarge(
            f"The image has {size} bytes; at most {max_bytes} are allowed (max_image_bytes).", param=path
        )
    try:
        return pybase64.b64decode(url[start:], validate=True)
    except ValueError:
        raise InvalidDataURL(
            "The data URL's payload is not valid base64: only A–Z, a–z, 0–9, + and / with = padding are allowed; "
            "line breaks, spaces and percent signs are not.",
            param=path,
        ) from None

"""Headers of the four formats: each function returns (stored width, stored height, EXIF block or None).

They raise ValueError if the header is cut off or malformed. Sources: ITU-T T.81 annex B, the PNG specification (third
edition), the WebP container specification and RFC 6386 §9.1, the GIF89a specification.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Any

Header = tuple[int, int, bytes | None]

_MOST_SEGMENTS = 4096
"""A 20 MB PNG of 8 KB chunks has 2,500. The limit keeps files of empty segments from blocking the event loop."""

_JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)
"""A marker that begins a segment; the others stand alone or are data."""
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_END_OF_IMAGE, _START_OF_SCAN, _APP1 = 0xD9, 0xDA, 0xE1


def jpeg(data: bytes) -> Header:
    exif = None
    for marker, start, end in _jpeg_segments(data):
        if marker == _APP1 and exif is None and data.startswith(b"Exif\0\0", start):
            exif = data[start:end]
        elif marker in _START_OF_FRAME:
            height, width = _unpack(">HH", data, start + 1)
            return width, height, exif
        elif marker == _START_OF_SCAN:
            break
    raise ValueError("a JPEG without a frame header")


def jpeg_scans(data: bytes) -> int:
    """How many passes a decoder makes over the image: about ten in progressive files, but a few bytes add one."""
    return sum(marker == _START_OF_SCAN for marker, _, _ in _jpeg_segments(data))


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start and end of the segment's content) up to the end of the image.

    Anything between segments is skipped, as decoders do, and so is the data of scans.
    """
    position = 2
    for _ in range(_MOST_SEGMENTS):
        found = _JPEG_MARKER.search(data, position)
        if found is None:
            return
        position = found.end()
        marker = found[1][0]
        if marker == _END_OF_IMAGE:
            return
        (length,) = _unpack(">H", data, position)
        yield marker, position + 2, position + length
        position += max(length, 2)
    raise ValueError("a JPEG of too many segments")


def png(data: bytes) -> Header:
    length, kind, width, height = _unpack(">I4sII", data, 8)
    if kind != b"IHDR" or length != 13:
        raise ValueError("a PNG that does not begin with its header")
    position = 33
    for _ in range(_MOST_SEGMENTS):
        if position + 8 > len(data):
            break
        length, kind = _unpack(">I4s", data, position)
        if kind == b"eXIf":
            return width, height, data[position + 8 : position + 8 + length]
        position += length + 12
    return width, height, None


def webp(data: bytes) -> Header:
    kind = data[12:16]
    if kind == b"VP8X":
        flags, low_width, high_width, low_height, high_height = _unpack("<B3xHBHB", data, 20)
        exif = _webp_exif(data) if flags & 0x08 else None
        return 1 + low_width + (high_width << 16), 1 + low_height + (high_height << 16), exif
    if kind == b"VP8L":
        signature, bits = _unpack("<BI", data, 20)
        if signature != 0x2F:
            raise ValueError("a lossless WebP without its signature")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), None
    if kind == b"VP8 ":
        start, width, height = _unpack("<3sHH", data, 23)
        if start != b"\x9d\x01\x2a":
            raise ValueError("a lossy WebP without its start code")
        return width & 0x3FFF, height & 0x3FFF, None
    raise ValueError("a WebP without an image")


def _webp_exif(data: bytes) -> bytes | None:
    position = 12
    for _ in range(_MOST_SEGMENTS):
        if position + 8 > len(data):
            break
        kind, length = _unpack("<4sI", data, position)
        if kind == b"EXIF":
            return data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
    return None


def gif(data: bytes) -> Header:
    width, height = _unpack("<HH", data, 6)
    return width, height, None


def _unpack(layout: str, data: bytes, offset: int) -> tuple[Any, ...]:
    try:
        return struct.unpack_from(layout, data, offset)
    except struct.error:
        raise ValueError("the file ends within its header") from None

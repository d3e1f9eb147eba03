"""JPEG headers (ITU-T T.81, annex B): all segments up to the first scan, as metadata may follow the frame header."""

from __future__ import annotations

import re
from collections.abc import Iterator

from service.image_header.fields import MOST_SEGMENTS, Header, UnsupportedKind, unpack

_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)
"""A marker that begins a segment; the others stand alone or are data."""
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HIERARCHICAL = frozenset({0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF})
_END_OF_IMAGE, _START_OF_SCAN, _APP1 = 0xD9, 0xDA, 0xE1
_MOST_FILLER = 64 * 1024
"""Bytes before the first scan that belong to no segment. There are hardly ever any, and Pillow reads one after another:
20 MB of them in 7 s, of an image of any size."""
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"


def jpeg(data: bytes) -> Header:
    """Size of the first frame; EXIF that was split over several segments is put together. Raises ValueError."""
    size: tuple[int, int] | None = None
    exif: list[bytes] = []
    xmp = None
    scans = False
    for marker, start, end in _segments(data):
        if marker == _APP1 and data.startswith(_EXIF, start, end):
            # joined once: added up, thousands of pieces would be copied as often
            exif.append(data[start + len(_EXIF) if exif else start : end])
        elif marker == _APP1 and data.startswith(_XMP, start, end):
            xmp = data[start + len(_XMP) : end]
        elif marker in _START_OF_FRAME and size is None:
            size = _frame(marker, data, start)
        elif marker == _START_OF_SCAN:
            scans = True
            break
    if size is None:
        raise ValueError("a JPEG without a frame header")
    return Header(*size, b"".join(exif) if exif else None, xmp, settled=scans)


def jpeg_scans(data: bytes) -> int:
    """How many passes a decoder makes over the image: about ten in progressive files, but a few bytes add one."""
    return sum(marker == _START_OF_SCAN for marker, _, _ in _segments(data))


def _frame(marker: int, data: bytes, start: int) -> tuple[int, int]:
    bits, height, width, components = unpack(">BHHB", data, start)
    if bits != 8:
        raise UnsupportedKind(f"a JPEG of {bits} bits per sample; JPEGs of 8 bits are accepted")
    if components not in (1, 3, 4):
        raise UnsupportedKind(f"a JPEG of {components} components; JPEGs of 1, 3 or 4 are accepted")
    if marker in _HIERARCHICAL:
        raise UnsupportedKind("a hierarchical JPEG; baseline and progressive ones are accepted")
    return width, height


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start and end of the segment's content) up to the end of the image.

    Anything between segments is skipped, as decoders do, and so is the data of scans. Raises ValueError.
    """
    position, filler, scans = 2, _MOST_FILLER, False
    for _ in range(MOST_SEGMENTS):
        found = _MARKER.search(data, position, len(data) if scans else position + filler + 2)
        if found is None:
            if not scans and position + filler + 2 <= len(data):
                raise ValueError("a JPEG of too many bytes that belong to no segment")
            return
        filler -= found.start() - position
        position = found.end()
        marker = found[1][0]
        if marker == _END_OF_IMAGE:
            return
        scans = scans or marker == _START_OF_SCAN
        (length,) = unpack(">H", data, position)
        yield marker, position + 2, position + length
        position += max(length, 2)
    raise ValueError("a JPEG of too many segments")

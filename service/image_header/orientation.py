"""How an image is to be turned, out of its EXIF block (a small TIFF file; CIPA DC-008, tag 0x0112) or its XMP packet.

The rules are those of Pillow's `ImageOps.exif_transpose`, by which transformers and vLLM load images: an orientation in
EXIF is a number of any type, and XMP is asked where EXIF has none. `tests/service/image_header/test_orientation.py`
holds the two side by side.
"""

from __future__ import annotations

import re
import struct

_ORIENTATION = 0x0112
_PREFIX = re.compile(rb"(?:Exif\0\0){1,2}")
_ORDERS = {b"II*\0": "<", b"II\0*": "<", b"MM\0*": ">", b"MM*\0": ">", b"MM\0+": ">"}
"""First bytes → byte order. The odd ones are what some cameras write."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
"""Bytes of a value of each TIFF type."""
_NUMBERS = {3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I", 16: "Q"}
"""The types whose values are numbers; two of them are fractions. BYTE is not one: Pillow takes it for text."""
_MOST_ENTRIES = 1000
_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


def orientation(exif: bytes | None, xmp: bytes | None) -> int:
    """1 to 8; also 1, as it is stored, where neither says a number of these."""
    number = None if exif is None else _in_exif(exif)
    if number is None and xmp is not None and (found := _IN_XMP.search(xmp)):
        number = int(found[1])
    return number if number is not None and 1 <= number <= 8 else 1


def _in_exif(exif: bytes) -> int | None:
    """None where the block does not speak of the orientation, or is malformed; 0 where it has no number for it."""
    prefix = _PREFIX.match(exif)
    block = exif[prefix.end() :] if prefix else exif
    order = _ORDERS.get(block[:4])
    if order is None:
        return None
    try:
        return _in_directory(block, order)
    except struct.error:
        return None


def _in_directory(block: bytes, order: str) -> int | None:
    """Raises struct.error when the block ends too early."""
    (directory,) = struct.unpack_from(order + "I", block, 4)
    (entries,) = struct.unpack_from(order + "H", block, directory)
    known: set[int] = set()
    elsewhere = 0  # bytes of values that do not fit into their entries
    for index in range(min(entries, _MOST_ENTRIES)):
        entry = directory + 2 + 12 * index
        tag, kind, count, place = struct.unpack_from(order + "HHII", block, entry)
        size = count * _SIZES.get(kind, 0)
        if tag in known or not size:
            continue
        if size <= 4:
            place = entry + 8
        else:
            elsewhere += size
            if elsewhere > len(block):
                continue
            if place + size > len(block):
                return None
        known.add(tag)
        if tag == _ORIENTATION:
            return _number(block, order, kind, place)
    return None


def _number(block: bytes, order: str, kind: int, place: int) -> int:
    """The first value, if it is a whole number from 1 to 8; else 0."""
    if kind not in _NUMBERS:
        return 0
    value, *divisor = struct.unpack_from(order + _NUMBERS[kind], block, place)
    if divisor:
        value = value / divisor[0] if divisor[0] else 0
    return int(value) if value in range(1, 9) else 0

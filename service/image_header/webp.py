"""WebP headers: the container specification, and RFC 6386 §9.1 for the size of lossy images."""

from __future__ import annotations

from service.image_header.fields import MOST_SEGMENTS, MOST_TEXT, Header, unpack

_EXIF_FLAG, _XMP_FLAG = 0x08, 0x04


def webp(data: bytes) -> Header:
    """Raises ValueError."""
    kind = data[12:16]
    if kind == b"VP8X":
        flags, low_width, high_width, low_height, high_height = unpack("<B3xHBHB", data, 20)
        width, height = 1 + low_width + (high_width << 16), 1 + low_height + (high_height << 16)
        exif, exif_settled = _chunk(data, b"EXIF") if flags & _EXIF_FLAG else (None, True)
        xmp, xmp_settled = _chunk(data, b"XMP ") if flags & _XMP_FLAG else (None, True)
        return Header(width, height, exif, xmp and xmp[:MOST_TEXT], exif_settled and xmp_settled)
    if kind == b"VP8L":
        signature, bits = unpack("<BI", data, 20)
        if signature != 0x2F:
            raise ValueError("a lossless WebP without its signature")
        return Header(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 ":
        start, width, height = unpack("<3sHH", data, 23)
        if start != b"\x9d\x01\x2a":
            raise ValueError("a lossy WebP without its start code")
        return Header(width & 0x3FFF, height & 0x3FFF)
    raise ValueError("a WebP without an image")


def _chunk(data: bytes, wanted: bytes) -> tuple[bytes | None, bool]:
    """The first chunk of that name, and whether all of it is there."""
    position = 12
    for _ in range(MOST_SEGMENTS):
        if position + 8 > len(data):
            break
        kind, length = unpack("<4sI", data, position)
        if kind == wanted:
            end = position + 8 + length
            return data[position + 8 : end], end <= len(data)
        position += 8 + length + length % 2
    return None, False

"""GIF headers (GIF89a): the logical screen, made larger where the first frame reaches beyond it, as Pillow makes it."""

from __future__ import annotations

from service.image_header.fields import Header, unpack

_MOST_BLOCKS = 65_536
"""A block is 255 bytes long at most, so that 16 MB of comments and metadata may come before the first frame. The limit
keeps files of empty blocks from blocking the event loop."""
_EXTENSION, _FRAME, _TRAILER = 0x21, 0x2C, 0x3B


def gif(data: bytes) -> Header:
    """Raises ValueError."""
    width, height, flags = unpack("<HHB", data, 6)
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    left, top, frame_width, frame_height = unpack("<4H", data, _first_frame(data, position))
    return Header(max(width, left + frame_width), max(height, top + frame_height))


def _first_frame(data: bytes, position: int) -> int:
    """Where the first frame's descriptor begins. Bytes that begin no block are skipped, as decoders do."""
    within = False  # an extension, whose blocks end with an empty one
    for _ in range(_MOST_BLOCKS):
        if position >= len(data):
            raise ValueError("the file ends before its first frame")
        byte = data[position]
        position += 1
        if within:
            position += byte
            within = byte > 0
        elif byte == _FRAME:
            return position
        elif byte == _EXTENSION:
            position += 1  # its label
            within = True
        elif byte == _TRAILER:
            raise ValueError("a GIF without a frame")
    raise ValueError("a GIF of too many blocks before its first frame")

"""Decodes and cuts one small image of every kind, so that whatever libraries load late is loaded before the sandbox
closes."""

from __future__ import annotations

import io
import struct

import torch
from PIL import Image

from service.decode.pixels import decode
from service.decode.tiling import cut
from service.domain import Filter, View

_SIDE = 16
_KINDS = (
    ("JPEG", "RGB"),
    ("JPEG", "L"),
    ("JPEG", "CMYK"),
    ("PNG", "1"),
    ("PNG", "L"),
    ("PNG", "LA"),
    ("PNG", "P"),
    ("PNG", "RGB"),
    ("PNG", "RGBA"),
    ("PNG", "I;16"),
    ("WEBP", "RGB"),
    ("WEBP", "RGBA"),
    ("GIF", "P"),
)


def warm_up() -> None:
    views = [
        View(2 * _SIDE, _SIDE, _SIDE, _SIDE),
        View(
            _SIDE, _SIDE, _SIDE, _SIDE, resize=(_SIDE + 2, _SIDE - 2), offset=(-1, 1), filter=Filter.BILINEAR
        ),
    ]
    for kind, mode in _KINDS:
        file = io.BytesIO()
        Image.new(mode, (_SIDE, _SIDE)).save(file, kind)
        cut(torch.from_numpy(decode(file.getvalue(), _SIDE, _SIDE)), views)
    decode(_photograph(), _SIDE, _SIDE)


def _photograph() -> bytes:
    """A JPEG as cameras write it, EXIF first: for that Pillow loads its TIFF reader."""
    exif = Image.Exif()
    exif[0x0110] = "camera"
    file = io.BytesIO()
    Image.new("RGB", (_SIDE, _SIDE)).save(file, "JPEG")
    data = file.getvalue()
    content = exif.tobytes()
    # in place of JFIF's own segment, which is 18 bytes long and comes after two
    return data[:2] + struct.pack(">BBH", 0xFF, 0xE1, len(content) + 2) + content + data[20:]

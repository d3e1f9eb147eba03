"""Decodes and cuts one small image of every kind, so that whatever libraries load late is loaded before the sandbox
closes. Knows nothing of requests."""

from __future__ import annotations

import io

import torch
from PIL import Image

from service.decode.pixels import decode
from service.domain import TilePlan, View
from service.tiling import cut

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
    plan = TilePlan("high", (View(2 * _SIDE, _SIDE, _SIDE, _SIDE),), rows=0, patches=0)
    for kind, mode in _KINDS:
        file = io.BytesIO()
        Image.new(mode, (_SIDE, _SIDE)).save(file, kind)
        cut(torch.from_numpy(decode(file.getvalue(), _SIDE, _SIDE)), plan)

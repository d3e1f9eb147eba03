"""Small checkpoints of every family of native resolution, and what their towers are held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from service.decode.tiling import cut
from service.domain import View
from service.families.native.resize import smart_resize
from service.families.towers import TiledImage, Tower
from tests.service import tiny_qwen2_vl, tiny_qwen3_5, tiny_qwen3_vl, tiny_qwen_vl
from tests.service.families.checkpoints import tower_of


@dataclass(frozen=True)
class Tiny:
    """A family's checkpoint that is made in a moment."""

    write: Callable[..., Any]
    """Saves it in a folder, and returns transformers' model."""
    norm: str = "ln_q"
    """Of the merger."""
    patch: int = 14

    @property
    def cell(self) -> int:
        return 2 * self.patch

    def pictures(self) -> list[Image.Image]:
        sizes = [
            (width * self.patch // 14, height * self.patch // 14) for width, height in tiny_qwen_vl.SIZES
        ]
        return tiny_qwen_vl.pictures(sizes)

    def tiled(self) -> list[TiledImage]:
        """The pictures as the decoder hands them over."""
        made = []
        for image in self.pictures():
            width, height = smart_resize(*image.size, self.cell, 4 * self.cell**2, 64 * self.cell**2)
            view = View(width, height, self.cell, self.cell)
            made.append(TiledImage([view], cut(torch.from_numpy(np.array(image)), [view]), view.tiles))
        return made

    def soft_tokens(self, model: Any) -> list[torch.Tensor]:
        """What transformers makes of each picture: [rows, width]"""
        return tiny_qwen_vl.soft_tokens(model, self.pictures(), self.patch, 64 * self.cell**2)


TINY = {
    "qwen_vl": Tiny(tiny_qwen_vl.write_checkpoint),
    "qwen2_vl": Tiny(tiny_qwen2_vl.write_checkpoint),
    "qwen3_5": Tiny(tiny_qwen3_5.write_checkpoint, norm="norm", patch=16),
    "qwen3_5_moe": Tiny(partial(tiny_qwen3_5.write_checkpoint, experts=True), norm="norm", patch=16),
    "qwen3_vl": Tiny(tiny_qwen3_vl.write_checkpoint, norm="norm", patch=16),
    "qwen3_vl_moe": Tiny(partial(tiny_qwen3_vl.write_checkpoint, experts=True), norm="norm", patch=16),
}


def load(folder: Path, dtype: str = "float32", backend: str = "auto", body: str = "auto") -> Tower:
    return tower_of(folder, device="cpu", dtype=dtype, backend=backend, body=body)

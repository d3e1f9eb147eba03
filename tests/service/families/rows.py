"""A tower's rows for whole pictures, and how far they are from others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from service.decode.tiling import cut
from service.domain import Detail
from service.families import load_geometry
from service.families.towers import TiledImage, Tower


def tiled(folder: Path, images: Sequence[Image.Image], detail: Detail = Detail.HIGH) -> list[TiledImage]:
    """The pictures as the decoder hands them over for the checkpoint in `folder`."""
    geometry = load_geometry(folder)
    plans = [geometry.plan(*image.size, detail) for image in images]
    return [
        TiledImage(plan.views, cut(torch.from_numpy(np.array(image)), plan.views), plan.tower_rows)
        for image, plan in zip(images, plans, strict=True)
    ]


def encoded(folder: Path, tower: Tower, images: Sequence[Image.Image]) -> list[torch.Tensor]:
    """In one batch, at full detail; [rows, width] each."""
    return tower.encode(tiled(folder, images))


def error(got: torch.Tensor, expected: torch.Tensor) -> float:
    """The length of the difference, as a share of what is expected."""
    return float((got.float() - expected.float()).norm() / expected.float().norm())


def worst(rows: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """The largest error of a picture."""
    assert [one.shape for one in rows] == [one.shape for one in expected]
    return max(map(error, rows, expected))

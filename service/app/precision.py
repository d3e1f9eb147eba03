"""What a tower in less than full precision costs: the same picture encoded twice. Imports torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from service.decode.tiling import cut
from service.domain import Detail
from service.families.base import Geometry
from service.families.loading import load_tower
from service.families.towers import TiledImage, TowerChoice

SIZE = 640, 480


def soft_token_error(path: str | Path, choice: TowerChoice, geometry: Geometry, threads: int) -> float:
    """‖soft tokens − those in full precision‖ / ‖those in full precision‖ of one picture.

    Loads the tower of the checkpoint in folder `path` twice, one after the other. Raises ConfigurationError.
    """
    plan = geometry.plan(*SIZE, Detail.HIGH)
    tiles = cut(torch.from_numpy(np.array(draw_picture())), plan.views)
    image = TiledImage(plan.views, tiles, plan.tower_rows)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        less, full = (
            load_tower(path, each).encode([image])[0] for each in (choice, replace(choice, precision="full"))
        )
    finally:
        torch.set_num_threads(before)
    return float(torch.dist(less.double(), full.double()) / full.double().norm())


def draw_picture() -> Image.Image:
    """Colours that run in different directions, and edges: stripes across a half of them."""
    radial, linear = Image.radial_gradient("L"), Image.linear_gradient("L")
    picture = Image.merge("RGB", (radial, linear, linear.rotate(90))).resize(SIZE)
    stripes = np.array(picture)
    stripes[: SIZE[1] // 2, (np.arange(SIZE[0]) // 24) % 2 == 1] ^= 0xFF
    return Image.fromarray(stripes)

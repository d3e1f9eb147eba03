"""Scenes in pairs for the last stage of training: on a ground of any colour, and the same on a greyish one.

A pair is drawn from its number; nothing is kept between steps. Of scenes of more than one tile, the thumbnail and two
of the others are used.
"""

from __future__ import annotations

import numpy as np
import torch

from demo.grounds import GREY, any_ground
from demo.tiles import cut
from demo.tokens import MAX_TILES
from demo.world import draw_scene, scene_seed

SIZED, PAGES = 0.3, 0.1
"""Shares of scenes of every size, and of pages full of numbers; the others are compact."""


def _tiles(rng: np.random.Generator, picture: np.ndarray, compact: bool) -> torch.Tensor:
    tiles = cut(picture, 1 if compact else MAX_TILES)
    others = rng.permutation(len(tiles) - 1)[:2]
    return tiles[[*others, len(tiles) - 1]]


def draw_pair(seed: int, number: int, grounds: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Tiles uint8 [tiles, 3, 112, 112] of training scene `number`, as seen and on a greyish ground.

    `grounds` is the probability of a ground of any colour; otherwise, and of pages, both are the same.
    """
    numbered = scene_seed("train", seed, number)
    rng = np.random.default_rng((*numbered, 2))
    drawn = rng.random()
    kind, compact = ("page" if drawn < PAGES else None), drawn >= PAGES + SIZED
    ground = any_ground(rng) if rng.random() < grounds and kind is None else None
    one_tile = compact or kind == "page"
    state = rng.bit_generator.state
    _, picture = draw_scene(numbered, kind, compact, ground)
    seen = _tiles(rng, np.asarray(picture), one_tile)
    if ground is None:
        return seen, seen
    rng.bit_generator.state = state
    _, picture = draw_scene(numbered, kind, compact, ground, painted=GREY)
    return seen, _tiles(rng, np.asarray(picture), one_tile)


def pair_tiles(seed: int, numbers: range, grounds: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The tiles of several pairs, one after another."""
    seen, plain = zip(*(draw_pair(seed, number, grounds) for number in numbers), strict=True)
    return torch.cat(seen), torch.cat(plain)

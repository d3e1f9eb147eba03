"""What one step of training is made of: which samples, cut and asked how. Knows no model."""

from __future__ import annotations

import numpy as np
import torch

from demo.batches import Asking, Batch, Writer, pair_batch, picture_batch, talk_batch
from demo.plan import Plan
from demo.pool import Pool, Sample, rolled
from demo.targets import COVER_REGION, DIGIT


def see_batch(
    rng: np.random.Generator, pool: Pool, size: int, share_of_pages: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tiles uint8 [size, 3, 112, 112] and targets [size, 16, K]: thumbnails, others, those with small writing."""
    tiles, targets = [], []
    pages = int(share_of_pages * size)
    moved = [rolled(rng, page) for page in pool.pages.pick(rng, pages)]
    for one in pool.pick(rng, size - pages) + moved:
        tile = len(one.tiles) - 1
        if tile and one.scene.kind == "small" and rng.random() < 0.85:
            tile = int(one.targets[:-1, :, DIGIT:COVER_REGION].sum((1, 2)).argmax())
        elif tile and rng.random() < 0.3:
            tile = int(rng.integers(tile))
        tiles.append(one.tiles[tile])
        targets.append(one.targets[tile])
    return torch.stack(tiles), torch.from_numpy(np.stack(targets))


def _tiled(rng: np.random.Generator, pool: Pool, plan: Plan) -> list[Sample]:
    """Samples of one number of tiles, as many as the step's budget of tiles allows."""
    groups = sorted(pool.tiled(small=bool(rng.random() < plan.small_share)).items())
    odds = np.array([len(members) for _, members in groups], float)
    tiles, members = groups[rng.choice(len(groups), p=odds / odds.sum())]
    return [members[i] for i in rng.choice(len(members), max(2, plan.tiles // plan.workers // tiles))]


def speak_batches(
    rng: np.random.Generator, writer: Writer, pool: Pool, plan: Plan, asking: Asking
) -> list[Batch]:
    """A worker's two or three batches of one step of the later stages."""
    numbers = pool.written(rng, plan.numbers // plan.workers)
    pictures = plan.pictures // plan.workers
    crowded = round(asking.crowded * pictures)
    samples = pool.pick(rng, pictures - crowded) + pool.crowded(rng, crowded)
    batches = [
        picture_batch(rng, writer, samples, full=False, asking=asking),
        picture_batch(rng, writer, numbers, full=False, blocks=1),
    ]
    which = rng.random()
    if which < 0.55:
        batches.append(picture_batch(rng, writer, _tiled(rng, pool, plan), full=True, asking=asking))
    elif which < 0.7:
        shapes = [one for one in pool.pick(rng, 40) if one.scene.things]
        half = min(len(shapes) // 2, 12)
        pairs = list(zip(shapes[:half], shapes[half : 2 * half], strict=True))
        batches.append(pair_batch(rng, writer, pairs, full=False))
    elif which < 0.8:
        batches.append(talk_batch(rng, writer))
    return batches

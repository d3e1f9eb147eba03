"""The stock of drawn scenes that training samples from, renewed as training goes on.

Scene number n of a split always looks the same; the pool holds a sliding window of them, so a run is repeatable.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from demo.targets import cells
from demo.tiles import cut, rects
from demo.tokens import MAX_TILES
from demo.world import TILE, Scene, draw_scene, scene_seed

COMPACT_A_STEP, SIZED_A_STEP, PAGES_A_STEP = 10, 2, 3  # new scenes a worker draws for each step


@dataclass(frozen=True, slots=True)
class Sample:
    """A scene, its tiles uint8 [tiles, 3, 112, 112] (thumbnail last) and their cells' targets uint8 [tiles, 16, K]."""

    scene: Scene
    tiles: torch.Tensor
    targets: np.ndarray


SOURCES = ("sized", "compact", "page")


def sample(split: str, seed: int, index: int, source: str = "sized") -> Sample:
    """Draws and cuts one scene: of any size, or compact, or a page of numbers; the last two have one tile."""
    numbered = scene_seed(split, seed, len(SOURCES) * index + SOURCES.index(source))
    scene, picture = draw_scene(numbered, "page" if source == "page" else None, compact=source == "compact")
    tiles = MAX_TILES if source == "sized" else 1
    parts = rects(scene.width, scene.height, tiles)
    return Sample(scene, cut(np.asarray(picture), tiles), np.stack([cells(scene, rect) for rect in parts]))


def rolled(rng: np.random.Generator, one: Sample) -> Sample:
    """A page of numbers moved round its edges: cheap variety."""
    right, down = (int(side) for side in rng.integers(TILE, size=2))
    across, along = TILE / one.scene.width, TILE / one.scene.height
    page = tuple(
        replace(
            number,
            digits=tuple(((x * across + right) % TILE, (y * along + down) % TILE) for x, y in number.digits),
            height=round(number.height * along),
        )
        for number in one.scene.page
    )
    scene = replace(one.scene, width=TILE, height=TILE, page=page)
    tile = torch.roll(one.tiles[0], (down, right), (1, 2))
    return Sample(scene, tile[None], cells(scene, (0.0, 0.0, TILE, TILE))[None])


class Stock:
    """`size` training scenes; `renew` replaces the oldest by the next ones.

    Worker `rank` of `stride` has every stride-th scene from `rank` on. After `drawn` renewals a scene lies where it
    would lie had they all been made here, so that a run that is resumed goes on as if it had never stopped.
    """

    def __init__(self, seed: int, size: int, rank: int, stride: int, drawn: int, source: str) -> None:
        self._seed, self._stride, self._source = seed, stride, source
        self._next = rank + stride * drawn
        fresh = [self._draw() for _ in range(size)]
        self._oldest = drawn % size
        self.samples = fresh[size - self._oldest :] + fresh[: size - self._oldest]

    def _draw(self) -> Sample:
        number, self._next = self._next, self._next + self._stride
        return sample("train", self._seed, number, self._source)

    def renew(self, count: int) -> None:
        """Draws `count` new scenes in the place of the oldest."""
        for _ in range(count):
            self.samples[self._oldest] = self._draw()
            self._oldest = (self._oldest + 1) % len(self.samples)

    def pick(self, rng: np.random.Generator, count: int) -> list[Sample]:
        """Any `count` samples."""
        return [self.samples[i] for i in rng.integers(len(self.samples), size=count)]


class Pool:
    """A worker's stocks: compact scenes, cheap to draw and soon replaced, and scenes of every size, kept for longer."""

    def __init__(self, seed: int, size: int, rank: int, workers: int, steps: int) -> None:
        self.compact = Stock(seed, 2 * size, rank, workers, COMPACT_A_STEP * steps, "compact")
        self.sized = Stock(seed, size, rank, workers, SIZED_A_STEP * steps, "sized")
        self.pages = Stock(seed, size, rank, workers, PAGES_A_STEP * steps, "page")

    def renew(self, steps: int) -> None:
        """Draws the new scenes of so many steps."""
        self.compact.renew(COMPACT_A_STEP * steps)
        self.sized.renew(SIZED_A_STEP * steps)
        self.pages.renew(PAGES_A_STEP * steps)

    def pick(self, rng: np.random.Generator, count: int) -> list[Sample]:
        """`count` samples, two thirds of them compact, in random order."""
        compact = int(rng.binomial(count, 2 / 3))
        picked = self.compact.pick(rng, compact) + self.sized.pick(rng, count - compact)
        return [picked[i] for i in rng.permutation(count)]

    def crowded(self, rng: np.random.Generator, count: int) -> list[Sample]:
        """`count` samples of one tile with three things or more."""
        here = [one for one in self.compact.samples if len(one.scene.things) >= 3]
        return [here[i] for i in rng.integers(len(here), size=count)]

    def written(self, rng: np.random.Generator, count: int) -> list[Sample]:
        """`count` samples of one tile with a number that can be read."""
        here = [one for one in self.compact.samples if one.scene.writing is not None]
        return [here[i] for i in rng.integers(len(here), size=count)]

    def tiled(self, small: bool) -> dict[int, list[Sample]]:
        """Samples of more than one tile by their number of tiles, with small writing or with none."""
        groups: dict[int, list[Sample]] = {}
        for one in self.sized.samples:
            if len(one.tiles) > 1 and (one.scene.kind == "small") == small:
                groups.setdefault(len(one.tiles), []).append(one)
        return groups

"""The stock of drawn scenes that training samples from, renewed as training goes on.

Scene number n of a split always looks the same; the pool holds a sliding window of them, so a run is repeatable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from demo.targets import cells
from demo.tiles import cut, rects
from demo.tokens import MAX_TILES
from demo.world import Scene, draw_scene, scene_seed


@dataclass(frozen=True, slots=True)
class Sample:
    """A scene, its tiles uint8 [tiles, 3, 112, 112] (thumbnail last) and their cells' targets uint8 [tiles, 16, K]."""

    scene: Scene
    tiles: torch.Tensor
    targets: np.ndarray


def sample(split: str, seed: int, index: int) -> Sample:
    """Draws and cuts one scene."""
    scene, picture = draw_scene(scene_seed(split, seed, index))
    parts = rects(scene.width, scene.height, MAX_TILES)
    return Sample(
        scene, cut(np.asarray(picture), MAX_TILES), np.stack([cells(scene, rect) for rect in parts])
    )


class Pool:
    """`size` training scenes: numbers first, first + stride, …; `renew` replaces the oldest by the next ones."""

    def __init__(self, seed: int, size: int, first: int, stride: int) -> None:
        self._seed, self._next, self._stride = seed, first, stride
        self._oldest = 0
        self.samples = [self._draw() for _ in range(size)]
        self._index()

    def _draw(self) -> Sample:
        number, self._next = self._next, self._next + self._stride
        return sample("train", self._seed, number)

    def _index(self) -> None:
        self.tiled: dict[tuple[bool, int], list[int]] = {}
        for i, one in enumerate(self.samples):
            if len(one.tiles) > 1:
                self.tiled.setdefault((one.scene.kind == "small", len(one.tiles)), []).append(i)

    def renew(self, count: int) -> None:
        """Draws `count` new scenes in the place of the oldest."""
        for _ in range(count):
            self.samples[self._oldest] = self._draw()
            self._oldest = (self._oldest + 1) % len(self.samples)
        self._index()

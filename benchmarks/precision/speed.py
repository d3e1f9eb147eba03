"""Whole towers in int8 and in full precision, from uint8 tiles to soft tokens, in turns within one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from kernels.measure import relative_error
from service.families.loading import choose_tower, load_tower
from service.families.towers import TiledImage, Tower

LARGEST_ERROR = 0.05
"""Of the soft tokens of random pixels."""


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds of one forward: on the wall, and of the processor in all threads. On a machine that others use the second
    is the steadier."""

    wall: float
    processor: float


@dataclass(frozen=True, slots=True)
class Case:
    tower: str
    tiles: int
    dtype: str
    error: float
    full: Sequence[Took]
    int8: Sequence[Took]

    @property
    def passed(self) -> bool:
        """False too where int8 is full precision by another name."""
        return 0 < self.error < LARGEST_ERROR

    def ratios(self, part: str) -> list[float]:
        """Full ÷ int8 in each round, of "wall" or "processor"."""
        return [
            getattr(one, part) / getattr(less, part) for one, less in zip(self.full, self.int8, strict=True)
        ]


def measure(name: str, folder: Path, dtype: str, batches: Sequence[int], rounds: int) -> list[Case]:
    """One case for each number of tiles; not timed where the error is too large. `dtype` as the setting has it."""
    full, less = (load(folder, dtype, precision) for precision in ("full", "int8"))
    cases = []
    for tiles in batches:
        images = images_of(full, tiles)
        exact, other = (torch.cat(tower.encode(images)) for tower in (full, less))
        case = Case(name, tiles, dtype, relative_error(other, exact), (), ())
        if case.passed:
            took = in_turns([partial(tower.encode, images) for tower in (full, less)], rounds)
            case = replace(case, full=took[0], int8=took[1])
        cases.append(case)
    return cases


def load(folder: Path, dtype: str, precision: str) -> Tower:
    return load_tower(folder, choose_tower(folder, device="cpu", dtype=dtype, precision=precision))


def images_of(tower: Tower, tiles: int) -> list[TiledImage]:
    """Random pixels, a tile each."""
    random = torch.Generator().manual_seed(0)
    grey = tower.blank(1)
    return [
        replace(grey, tiles=[torch.randint(256, grey.tiles[0].shape, dtype=torch.uint8, generator=random)])
        for _ in range(tiles)
    ]


def in_turns(calls: Sequence[Callable[[], object]], rounds: int) -> list[list[Took]]:
    """Per call what each round took; who begins changes from round to round."""
    seen: list[list[Took]] = [[] for _ in calls]
    for call in calls:
        call()
    for number in range(rounds):
        order = list(enumerate(calls))
        for which, call in order if number % 2 else reversed(order):
            seen[which].append(timed(call))
    return seen


def timed(call: Callable[[], object]) -> Took:
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return Took(time.perf_counter() - wall, time.process_time() - processor)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high

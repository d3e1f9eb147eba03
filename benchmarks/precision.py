"""The encoder in int8 against full precision: `python -m benchmarks.precision --help`.

Whole towers of checkpoints with random weights (`benchmarks.race.checkpoints`) and of the embedded model, from uint8
tiles to soft tokens, in turns within one process. Wall time and the processor's time of all threads are both told: on a
machine that others use the second is the steadier. Nothing is told of a case whose error is above `--bound`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.race.checkpoints import SHAPES, checkpoint
from kernels.measure import relative_error
from service.families.loading import choose_tower, load_tower
from service.families.towers import TiledImage, Tower
from service.settings import EMBEDDED_MODEL

EMBEDDED = "embedded"
PRECISIONS = "full", "int8"


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds of one forward."""

    wall: float
    processor: float


def timed(call: Callable[[], object]) -> Took:
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return Took(time.perf_counter() - wall, time.process_time() - processor)


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


def towers(folder: Path, dtype: str) -> list[Tower]:
    choice = choose_tower(folder, device="cpu", dtype=dtype, precision="int8")
    return [load_tower(folder, replace(choice, precision=precision)) for precision in PRECISIONS]  # type: ignore[arg-type]


def images_of(tower: Tower, tiles: int) -> list[TiledImage]:
    """Random pixels, a tile each."""
    random = torch.Generator().manual_seed(0)
    grey = tower.blank(1)
    return [
        replace(grey, tiles=[torch.randint(256, grey.tiles[0].shape, dtype=torch.uint8, generator=random)])
        for _ in range(tiles)
    ]


def told(name: str, tiles: int, error: float, seen: Sequence[Sequence[Took]]) -> str:
    def middle(values: Sequence[float]) -> str:
        low, mid, high = statistics.quantiles(values, n=4, method="inclusive")
        return f"{1e3 * mid:8.1f} ({1e3 * low:.1f} to {1e3 * high:.1f})"

    columns = []
    for part in ("wall", "processor"):
        values = [[getattr(took, part) for took in each] for each in seen]
        ratios = [full / less for full, less in zip(*values, strict=True)]
        columns += [*map(middle, values), f"{statistics.median(ratios):.2f}"]
    return f"| {name} | {tiles} | {100 * error:.2f} % | {' | '.join(columns)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", default=[EMBEDDED, *SHAPES], help="default: %(default)s")
    parser.add_argument("--tiles", type=int, nargs="+", default=[1, 5, 13], help="in a batch")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--bound", type=float, default=0.05, help="largest error of soft tokens")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "patchbay-checkpoints")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(
        "| tower | tiles | error | wall: full, ms | int8, ms | ratio | processor: full, ms | int8, ms | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    red = False
    for shape in given.shapes:
        folder = Path(EMBEDDED_MODEL) if shape == EMBEDDED else checkpoint(shape, given.folder)
        both = towers(folder, given.dtype)
        for tiles in given.tiles:
            images = images_of(both[0], tiles)
            full, less = (torch.cat(tower.encode(images)) for tower in both)
            if (error := relative_error(less, full)) > given.bound or error == 0:
                print(f"{shape}, {tiles} tiles: the error is {error:.3g}, no times", file=sys.stderr)
                red = True
                continue
            calls = [partial(tower.encode, images) for tower in both]
            print(told(shape, tiles, error, in_turns(calls, given.rounds)), flush=True)
    return int(red)


if __name__ == "__main__":
    sys.exit(main())

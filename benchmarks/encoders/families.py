"""The tower of every backbone against transformers' own, in turns: `python -m benchmarks.encoders.families`.

Ours is the product's, from uint8 tiles to soft tokens, as `patchbay serve` loads it; transformers' is
`get_image_features`, from what its image processor leaves, so that its normalisation is not counted and ours is. Equal
first: no farther from transformers' fp64 than transformers itself is in this number format, over eight pictures. A
tower that is farther is named and not timed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from benchmarks.encoders.checkpoints import BACKBONES, Backbone, Inputs, Sizes
from kernels.measure import Call, alternate, relative_error
from kernels.report import describe_machine
from service.families.loading import choose_tower, load_tower
from service.families.towers import DTYPES, TiledImage, Tower

PICTURES = 8
"""Over so many the error is taken: for one picture, which of two orders of the same roundings is nearer is chance."""
CHANCE = 1.01
"""Where both compute the same but for the order of sums, either may be nearer by so much."""
BATCHES = (1, 8)
ROUNDS = 9
PATIENCE = 40.0
"""Seconds after which no further round of a batch begins."""
CPU = torch.device("cpu")
COLUMNS = (
    "backbone",
    "of",
    "blocks",
    "batch",
    "ours, ms",
    "transformers, ms",
    "ratio",
    "ours from fp64",
    "transformers from fp64",
)


@dataclass(frozen=True)
class Timed:
    batch: int
    ours: float
    """Seconds of a batch, the median."""
    transformers: float

    @property
    def ratio(self) -> float:
        return self.transformers / self.ours


@dataclass(frozen=True)
class Result:
    backbone: Backbone
    body: str
    ours: float
    """How far from fp64."""
    transformers: float
    timed: Sequence[Timed]
    """Nothing where ours is farther."""

    @property
    def red(self) -> bool:
        return not self.ours <= CHANCE * self.transformers


def measure(
    backbone: Backbone,
    folder: Path,
    *,
    dtype: str = "bfloat16",
    sizes: Sizes,
    batches: Sequence[int] = BATCHES,
    rounds: int = ROUNDS,
) -> Result:
    """Writes a checkpoint into `folder`, compares and times."""
    prepare, read = backbone.prepare(sizes), DTYPES[dtype]
    backbone.make(folder, sizes, read)
    tower = load_tower(folder, choose_tower(folder, device="cpu", dtype=dtype))
    images, inputs = prepare(folder, PICTURES)
    with torch.inference_mode():
        exact = _features(_model(folder, torch.float64), inputs)()
        model = _model(folder, read)
        theirs = relative_error(_features(model, inputs)(), exact)
        ours = relative_error(_soft_tokens(tower, images)(), exact)
        result = Result(backbone, tower.choice.body, ours, theirs, ())
        if result.red:
            return result
        timed = [_time(tower, model, *prepare(folder, batch), rounds) for batch in batches]
    return Result(backbone, tower.choice.body, ours, theirs, timed)


def _time(tower: Tower, model: Any, images: Sequence[TiledImage], inputs: Inputs, rounds: int) -> Timed:
    calls = {"ours": _soft_tokens(tower, images), "transformers": _features(model, inputs)}
    seconds = alternate(calls, rounds, CPU, "eager", PATIENCE)
    return Timed(len(images), *(statistics.median(seconds[name]) for name in calls))


def _model(folder: Path, dtype: torch.dtype) -> Any:
    return AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa").eval()


def _soft_tokens(tower: Tower, images: Sequence[TiledImage]) -> Call:
    return lambda: torch.cat(tower.encode(images))


def _features(model: Any, inputs: Inputs) -> Call:
    """Transformers' soft tokens, [tokens, width]; levels of DeepStack side by side."""
    given = {
        name: value.to(model.dtype) if value.is_floating_point() else value for name, value in inputs.items()
    }

    def call() -> torch.Tensor:
        made = model.get_image_features(**given)
        levels = [made.pooler_output, *getattr(made, "deepstack_features", ())]
        return torch.cat([torch.cat([rows.flatten(0, -2) for rows in level]) for level in levels], 1)

    return call


def table(results: Sequence[Result]) -> str:
    """As markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for one in results:
        told = f"{one.ours:.2e} | {one.transformers:.2e} |"
        for timed in one.timed:
            times = f"{1e3 * timed.ours:.1f} | {1e3 * timed.transformers:.1f} | {timed.ratio:.2f}"
            lines.append(
                f"| {one.backbone.name} | {one.backbone.model} | {one.body} | {timed.batch} | {times} | {told}"
            )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None, sizes: Sizes | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encoders.families", description=__doc__)
    names = [one.name for one in BACKBONES]
    parser.add_argument(
        "--backbone", choices=names, action="append", help="only this one; may be repeated (default: all)"
    )
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16", help="number format of both")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"timed calls of each (default: {ROUNDS})")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the table, as markdown")
    options = parser.parse_args(arguments)
    sizes = sizes or Sizes()
    machine = describe_machine(CPU)
    heading = (
        f"{machine.device}, {machine.threads} threads, load {machine.load}, torch {machine.torch}, {machine.commit}\n"
        f"{options.dtype}, {sizes.layers} layers of {sizes.hidden}, tiles of {sizes.side} pixels, random weights\n"
    )
    print(heading)
    results = []
    for backbone in BACKBONES:
        if backbone.name in (options.backbone or names):
            with TemporaryDirectory() as folder:
                results.append(
                    measure(backbone, Path(folder), dtype=options.dtype, sizes=sizes, rounds=options.rounds)
                )
    print(table(results))
    if options.write:
        options.write.write_text(f"{heading}\n{table(results)}\n")
    red = [one for one in results if one.red]
    for one in red:
        print(
            f"GATE RED, not timed: {one.backbone.name} is off by {one.ours:.3e}, allowed are {one.transformers:.3e}",
            file=sys.stderr,
        )
    return 1 if red else 0


if __name__ == "__main__":
    sys.exit(main())

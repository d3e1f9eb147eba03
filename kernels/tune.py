"""Finds the fastest block shapes of patch_embed on the GPU that is here and enters them in the committed table.

`python -m kernels.tune` takes every candidate that compiles without spills and gives the right tokens, times them on
the shapes of the benchmark, as CUDA graphs and in turns, and writes `kernels/patch_embed/tuned.json`; other GPUs'
entries stay. Candidates are compiled on every core at once, and each shape is written when it has been searched. Exit
status 2 where there is no GPU, since nothing about a GPU's speed can be found elsewhere; 3 when `--limit` left shapes
out.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from itertools import chain, product
from pathlib import Path
from typing import Any

import torch

from kernels.backend import gpu
from kernels.cubin import Cost
from kernels.measure import Call, alternate, relative_error
from kernels.patch_embed import aot, configs, tuned
from kernels.patch_embed.bench import ON_GPU, Case, providers
from kernels.patch_embed.configs import Config
from kernels.patch_embed.tuned import Entry
from kernels.publish import CUT_OFF
from kernels.spread import spread

CANDIDATES = (
    *(
        Config(tokens, hidden, k, warps, stages)
        for tokens, hidden, k, warps, stages in product((64, 128), (64, 128), (32, 64), (4, 8), (2, 3, 4))
    ),
    *chain.from_iterable(configs.FLAT.values()),
)
ROUNDS = 50

Times = Callable[[Mapping[str, Call]], dict[str, list[float]]]


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if not torch.cuda.is_available():
        print(
            "kernels.tune: there is no CUDA device here, and a GPU's times are found nowhere else",
            file=sys.stderr,
        )
        return 2
    before = tuned.load(options.table) if options.table.exists() else ()
    ends = time.monotonic() + (options.limit or math.inf)
    device, shared = _device()
    fitting: dict[int, list[Config]] = {}
    found: list[Entry] = []
    launched: set[str] = set()
    for encoder, batch in ON_GPU:
        case = Case.draw(encoder, batch, torch.bfloat16, device)
        if case.front.before is not None:
            continue  # the layer itself is one of the others
        if time.monotonic() > ends:
            print(f"LIMIT: {options.limit:.0f} s were over before {case}", file=sys.stderr)
            return CUT_OFF
        if encoder.patch not in fitting:
            fitting[encoder.patch] = without_spills(
                CANDIDATES, gpu(device)[0], encoder.patch, shared, options.jobs
            )
        if encoder.name not in launched:
            launched.add(encoder.name)
            spread(partial(_launch, ON_GPU.index((encoder, batch))), fitting[encoder.patch], options.jobs)
        found.append(_search(case, fitting[encoder.patch], options.rounds))
        tuned.save(merged(before, found), options.table)
        print(f"{case}: {found[-1].config}, {found[-1].p50_us} µs", flush=True)
    return 0


def without_spills(
    candidates: Iterable[Config], capability: int, patch: int, shared: int, jobs: int | None = 1
) -> list[Config]:
    """Those that such a GPU can hold: nothing spilled, and at most `shared` bytes of shared memory for a program.

    Compiled by `jobs` processes; None for one on each core.
    """
    given = list(candidates)
    costs = spread(partial(_cost, capability, patch), given, jobs)
    return [
        config
        for config, cost in zip(given, costs, strict=True)
        if not cost.spill_bytes and cost.shared_bytes <= shared
    ]


def fastest(
    calls: Mapping[Config, Call], out: torch.Tensor, exact: torch.Tensor, allowed: float, times: Times
) -> tuple[Config, float]:
    """Of those that leave in `out` what is off by no more than `allowed`, the one with the least median; in seconds.

    Raises RuntimeError when none is right.
    """
    right: dict[str, Config] = {}
    for config, call in calls.items():
        out.fill_(float("nan"))  # what another left is no result of this one
        if relative_error(call(), exact) <= allowed:
            right[str(config)] = config
    if not right:
        raise RuntimeError(
            f"none of {len(calls)} block shapes is off by {allowed:.3e} or less: a kernel is wrong"
        )
    seconds = times({name: calls[config] for name, config in right.items()})
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    name = min(medians, key=medians.__getitem__)
    return right[name], medians[name]


def merged(before: Iterable[Entry], found: list[Entry]) -> list[Entry]:
    """What was found takes the place of all that the table had for the same GPU."""
    here = {entry.gpu for entry in found}
    return [entry for entry in before if entry.gpu not in here] + found


def _device() -> tuple[torch.device, int]:
    """The GPU, and the bytes of shared memory that a program may have."""
    device = torch.device("cuda", torch.cuda.current_device())
    properties: Any = torch.cuda.get_device_properties(device)  # torch's stubs lack the next
    return device, properties.shared_memory_per_block_optin


def _cost(capability: int, patch: int, config: Config) -> Cost:
    """In a process of its own."""
    return aot.compile_one(capability, "bf16", patch, config).cost


@torch.inference_mode()
def _launch(case: int, config: Config) -> None:
    """Runs the candidate once, in a process of its own: what Triton compiles for the launch is then in its cache on
    disk, where the search finds it."""
    from kernels.patch_embed import fused

    encoder, _ = ON_GPU[case]
    drawn = _drawn(encoder.name)
    size = 1, drawn.tokens, encoder.hidden
    out = torch.empty(size, dtype=torch.bfloat16, device=drawn.tiles.device)
    fused.patch_embed(drawn.tiles, drawn.fold(), out, config)


@cache
def _drawn(name: str) -> Case:
    """One image's; the number of images is in no compilation."""
    encoder = next(encoder for encoder, _ in ON_GPU if encoder.name == name)
    return Case.draw(encoder, 1, torch.bfloat16, torch.device("cuda", torch.cuda.current_device()))


@torch.inference_mode()
def _search(case: Case, candidates: list[Config], rounds: int) -> Entry:
    from kernels.patch_embed import fused  # here, so that the refusal needs no triton

    device, encoder, folded = case.tiles.device, case.front.tower, case.fold()
    exact = case.in_fp64()
    allowed = relative_error(providers(case, "triton")["eager"](), exact)

    out = torch.empty(exact.shape, dtype=case.front.dtype, device=device)

    def call(config: Config) -> torch.Tensor:
        fused.patch_embed(case.tiles, folded, out, config)
        return out

    times = partial(alternate, rounds=rounds, device=device, mode="graph")
    config, seconds = fastest({one: partial(call, one) for one in candidates}, out, exact, allowed, times)
    name, (capability, _) = torch.cuda.get_device_name(device), gpu(device)
    tokens = len(case.tiles) * case.tokens
    return Entry(name, capability, encoder.patch, encoder.hidden, tokens, config, round(seconds * 1e6, 1))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m kernels.tune", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help="timed calls per candidate (default: %(default)s)"
    )
    parser.add_argument(
        "--limit",
        type=float,
        metavar="SECONDS",
        help="search no further shape after so long (default: no limit)",
    )
    parser.add_argument("--jobs", type=int, help="processes that compile (default: one for each core)")
    parser.add_argument(
        "--table", type=Path, default=tuned.TABLE, help="where to write (default: the committed table)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Finds the fastest block shapes of patch_embed on the GPU that is here and enters them in the committed table.

`python -m kernels.tune` takes every candidate that compiles without spills and gives the right tokens, times them on
the shapes of the benchmark, as CUDA graphs and in turns, and writes `kernels/patch_embed/tuned.json`; other GPUs'
entries stay. Exit status 2 where there is no GPU: nothing about a GPU's speed can be found elsewhere.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

from kernels.backend import gpu
from kernels.measure import Call, alternate, relative_error
from kernels.patch_embed import aot, tuned
from kernels.patch_embed.bench import ON_GPU, Case, providers
from kernels.patch_embed.configs import Config
from kernels.patch_embed.tuned import Entry

CANDIDATES = tuple(
    Config(tokens, hidden, k, warps, stages)
    for tokens, hidden, k, warps, stages in product((64, 128), (64, 128), (32, 64), (4, 8), (2, 3, 4))
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
    device = torch.device("cuda", torch.cuda.current_device())
    properties: Any = torch.cuda.get_device_properties(device)  # torch's stubs lack the next
    shared = properties.shared_memory_per_block_optin
    fitting: dict[int, list[Config]] = {}
    found: list[Entry] = []
    for encoder, batch in ON_GPU:
        case = Case.draw(encoder, batch, torch.bfloat16, device)
        if case.front.before is not None:
            continue  # the layer itself is one of the others
        if encoder.patch not in fitting:
            fitting[encoder.patch] = without_spills(CANDIDATES, gpu(device)[0], encoder.patch, shared)
        found.append(_search(case, fitting[encoder.patch], options.rounds))
        print(f"{case}: {found[-1].config}, {found[-1].p50_us} µs")
    tuned.save(merged(before, found), options.table)
    return 0


def without_spills(candidates: Iterable[Config], capability: int, patch: int, shared: int) -> list[Config]:
    """Those that such a GPU can hold: nothing spilled, and at most `shared` bytes of shared memory for a program."""
    costs = [(config, aot.compile_one(capability, "bf16", patch, config).cost) for config in candidates]
    return [config for config, cost in costs if not cost.spill_bytes and cost.shared_bytes <= shared]


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
        "--table", type=Path, default=tuned.TABLE, help="where to write (default: the committed table)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

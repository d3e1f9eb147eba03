"""Each kernel once against fp64 before anything is timed, the device asked for its errors after each.

A kernel that reads or writes where it may not ends the process: the last line says which was before it, and the log
where CUDA found it (`CUDA_LAUNCH_BLOCKING=1`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.encoders.native import NativeModel
from benchmarks.gpu.steps.rows import add
from kernels.backend import Backend, choose_backend
from kernels.measure import relative_error
from kernels.patch_embed import bench as patch_embed
from kernels.project import bench as project
from kernels.towers.towers import QWEN_SMALL

ALLOWED = 1.5
"""Times the chain's error in the same dtype: this looks for what is wrong, the benchmarks' gates for what is less
exact."""


@dataclass(frozen=True, slots=True)
class Check:
    """One result of ours, made when it is asked for."""

    name: str
    made: Callable[[], torch.Tensor]
    exact: Callable[[], torch.Tensor]
    chain: Callable[[], torch.Tensor]


def checks(device: torch.device, backend: Backend) -> Iterator[Check]:
    gpu = device.type == "cuda"
    towers = (patch_embed.VIT_L, patch_embed.CLIP) if gpu else (patch_embed.DEMO,)
    for tower in towers:
        for batch in (1, 8):
            case = patch_embed.Case.draw(tower, batch, torch.bfloat16, device)
            chain = patch_embed.providers(case, backend)["eager"]
            yield Check(f"patch_embed {case}", patch_embed.ours(case, backend), case.in_fp64, chain)
    for shape in (project.LLAVA, project.INTERNVL) if gpu else (project.DEMO,):
        for batch in (1, 8):
            drawn = project.Case.draw(shape, batch, torch.bfloat16, device)
            chain = project.their_calls(drawn)["eager"]
            for name, ours in project.our_calls(drawn, backend).items():
                yield Check(f"project {drawn}, {name}", ours.fresh, drawn.in_fp64, chain)
    model = NativeModel(QWEN_SMALL, device, torch.bfloat16)
    precise = model.precise()
    cells = QWEN_SMALL.tiles(len(QWEN_SMALL.mix))
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (cells, 28, 28, 3), dtype=torch.uint8, generator=random).to(device)
    yield Check(
        f"varlen {QWEN_SMALL.name} bf16",
        lambda: model.ours(backend)(pixels),
        lambda: precise.transformers()(pixels),
        lambda: model.transformers()(pixels),
    )


@torch.inference_mode()
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.steps.once", description=__doc__)
    parser.add_argument("--device", default="cuda", help="a torch device (default: %(default)s)")
    parser.add_argument("--write", type=Path, required=True, metavar="FILE", help="gets a JSON object a line")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    wrong = 0
    for check in checks(device, choose_backend(device)):
        print(f"{check.name} …", flush=True)
        made = check.made()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        exact = check.exact()
        error, allowed = (relative_error(one.view(exact.shape), exact) for one in (made, check.chain()))
        right = error <= ALLOWED * allowed
        wrong += not right
        add(options.write, check=check.name, error=error, chain=allowed, right=right)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

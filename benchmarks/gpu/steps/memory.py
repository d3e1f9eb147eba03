"""What the encoder takes of the GPU's memory, and of the machine's pinned memory, against what the plan gave it.

CLIP-L/14-336 with LLaVA-1.5's projector, staged and captured as the service does it, one full batch. Exit status 1
where it takes more than was planned. On a CPU there is nothing to compare: the plan is made and the batch computed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.encoders.models import Model
from benchmarks.gpu.steps.rows import add
from kernels.backend import choose_backend
from kernels.runner import Cuda, Device, Runner, TileShape
from kernels.towers.towers import DEMO, TOWERS
from service.encoder.staging import choose_runs
from service.planning.gpu_share import CUDA_CONTEXT_BYTES
from service.planning.machine import Machine
from service.planning.plan import make_plan
from service.planning.resources import Need, Overrides, ResourcePlan
from service.planning.visible_gpu import GPU

CLIP = next(tower for tower in TOWERS if tower.kind == "clip")
SOFT_WIDTH = {CLIP: 4096, DEMO: 192}
SOFT_ROWS = {CLIP: 576, DEMO: 16}
"""That the projector makes of a tile."""


@torch.inference_mode()
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.steps.memory", description=__doc__)
    parser.add_argument("--device", default="cuda", help="a torch device (default: %(default)s)")
    parser.add_argument("--write", type=Path, required=True, metavar="FILE", help="gets a JSON object a line")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    gpu = device.type == "cuda"
    tower = CLIP if gpu else DEMO
    model = Model(tower, device, torch.bfloat16)
    plan = planned(model, device)
    tiles = plan.encoder_batch_patches // plan.tile_patches
    pixels = torch.randint(0, 256, (tiles if gpu else 2, tower.side, tower.side, 3), dtype=torch.uint8)
    row = {"tower": tower.name, "tiles": len(pixels)}
    if not gpu:
        rows = model.ours(choose_backend(device))(pixels)
        add(options.write, **row, rows=rows.shape[0] * rows.shape[1], planned_activations=plan.tile_bytes)
        return 0
    context = used(device) - torch.cuda.memory_reserved(device)
    runner = staged(model, plan, Cuda(device))
    kept = [runner.run([pixels]), runner.run([pixels])]  # as while one is stored
    torch.cuda.synchronize(device)
    took = {
        "context": context,
        "reserved": torch.cuda.max_memory_reserved(device),
        "device": used(device),
        "pinned": torch.cuda.host_memory_stats()["allocated_bytes.peak"],
    }
    plans = {"context": CUDA_CONTEXT_BYTES, "device": plan.encoder_gpu_bytes, "pinned": plan.pinned_bytes}
    add(
        options.write,
        **row,
        graphs=len(runner.graph_sizes),
        **took,
        **{f"planned_{name}": value for name, value in plans.items()},
    )
    del kept
    return 1 if any(took[name] > plans[name] for name in ("device", "pinned")) else 0


def staged(model: Model, plan: ResourcePlan, device: Device) -> Runner:
    """The tower in chunks and graphs, as the service runs it with this plan."""
    runs = choose_runs(plan, independent_tiles=True, copies="auto")
    assert runs is not None, "staging is for GPUs"
    tower, whole = model.encoder, model.ours(choose_backend(model.device))

    def forward(pixels: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_(whole(pixels).flatten(0, 1))

    shape = TileShape(tower.side, tower.side, SOFT_ROWS[tower], SOFT_WIDTH[tower], torch.bfloat16)
    return Runner(forward, shape, device, most=runs.most, graph_sizes=runs.graph_sizes)


def planned(model: Model, device: torch.device) -> ResourcePlan:
    """The plan for an engine of 14 GiB beside this encoder."""
    tower = model.encoder
    modules = [model.tower, *([model.projector] if model.projector is not None else [])]
    patches = tower.patches + model.skip
    need = Need(
        vision_bytes=sum(p.nbytes for module in modules for p in module.parameters()),
        text_bytes=14 * 2**30 if device.type == "cuda" else 2**20,
        vision_hidden=tower.hidden,
        soft_width=SOFT_WIDTH[tower],
        max_tokens=SOFT_ROWS[tower],
        max_positions=SOFT_ROWS[tower],
        max_patches=patches,
        tile_patches=patches,
        tile_pixel_bytes=3 * tower.side**2,
        tile_rows=SOFT_ROWS[tower],
        kv_bytes_per_token=2**19 if device.type == "cuda" else 2**10,
        context=4096,
        dtype="bfloat16",
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    card = None
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        card = GPU(torch.cuda.get_device_name(device), total, free)
    machine = Machine(tuple(range(os.cpu_count() or 1)), memory, memory // 4, card)
    return make_plan(machine, need, Overrides())


def used(device: torch.device) -> int:
    """Bytes that are not free, whoever holds them: CUDA's context is one of these."""
    free, total = torch.cuda.mem_get_info(device)
    return total - free


if __name__ == "__main__":
    sys.exit(main())

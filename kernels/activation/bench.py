"""activation against the chain: quick_gelu is three operations in torch, a gate one more."""

from __future__ import annotations

from itertools import product

import torch

from kernels.activation import activate
from kernels.activation.aot import TOWERS
from kernels.activation.reference import Activation
from kernels.activation.reference import activate as torchs
from kernels.activation.reference import gated as torchs_gated
from kernels.backend import Backend
from kernels.bandwidth import CHAIN, Benchmark, Case, Provider, TowerShape
from kernels.compiling import compiled

OPERATIONS: dict[Activation, int] = {"gelu": 5, "gelu_tanh": 9, "quick_gelu": 4, "silu": 4}
"""Of a number, each transcendental function as one."""

SHAPES = tuple(
    TowerShape(tower, tokens) for tower, tokens in zip(TOWERS, (577, 1025, 729, 1024, 1024), strict=True)
)


def draw(shape: TowerShape, batch: int, dtype: torch.dtype, device: torch.device, backend: Backend) -> Case:
    random = torch.Generator(device).manual_seed(0)
    width, kind, gated = TOWERS[shape.tower]
    size = batch * shape.tokens, width * (1 + gated)
    x = (2 * torch.randn(size, device=device, generator=random)).to(dtype)
    exact = torchs_gated(x.double(), kind) if gated else torchs(x.double(), kind)
    return Case(
        kernel="activation",
        shape=shape.name,
        batch=batch,
        inputs=(x,),
        exact=(exact,),
        providers=providers(kind, gated, x, backend),
        least_bytes=x.nbytes + exact.numel() * dtype.itemsize,
        flops=(OPERATIONS[kind] + gated) * exact.numel(),
    )


def providers(kind: Activation, gated: bool, x: torch.Tensor, backend: Backend) -> dict[str, Provider]:
    """Each into a new tensor."""

    def chain(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (torchs_gated(x, kind) if gated else torchs(x, kind),)

    calls: dict[str, Provider] = {
        backend: lambda x: (activate(x, kind, gated=gated, backend=backend),),
        CHAIN: chain,
    }
    if x.is_cuda:  # on a CPU it would need a C++ compiler
        calls["compile"] = compiled(chain)
    return calls


run = Benchmark(draw, [(SHAPES[0], 1)], list(product(SHAPES, (1, 8, 64))))

"""add_norm against the chain: an addition in place, then torch's own norm, which reads the sum again."""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F

from kernels.add_norm import add_norm
from kernels.add_norm.aot import TOWERS, Norm
from kernels.add_norm.reference import add_norm as in_full
from kernels.backend import Backend
from kernels.bandwidth import CHAIN, Benchmark, Case, Provider, TowerShape, bytes_of
from kernels.compiling import compiled

EPS = 1e-6


SHAPES = tuple(
    TowerShape(tower, tokens) for tower, tokens in zip(TOWERS, (577, 729, 1024, 1024, 1024), strict=True)
)


def draw(shape: TowerShape, batch: int, dtype: torch.dtype, device: torch.device, backend: Backend) -> Case:
    random = torch.Generator(device).manual_seed(0)
    norm = TOWERS[shape.tower]

    def drawn(*size: int) -> torch.Tensor:
        return torch.randn(size, device=device, generator=random).to(dtype)

    tokens = batch * shape.tokens
    inputs = drawn(tokens, norm.width), drawn(tokens, norm.width)
    weight, bias = drawn(norm.width), drawn(norm.width) if norm.biased else None
    exact = in_full(
        inputs[0].double(),
        inputs[1].double(),
        weight.double(),
        None if bias is None else bias.double(),
        EPS,
        norm.kind,
    )
    return Case(
        kernel="add_norm",
        shape=shape.name,
        batch=batch,
        inputs=inputs,
        exact=exact,
        providers=providers(norm, weight, bias, backend),
        least_bytes=2 * bytes_of(inputs),
        flops=8 * inputs[0].numel(),
    )


def providers(
    norm: Norm, weight: torch.Tensor, bias: torch.Tensor | None, backend: Backend
) -> dict[str, Provider]:
    """hidden, update → the sum, in the place of `hidden`, and its norm."""

    def chain(hidden: torch.Tensor, update: torch.Tensor) -> tuple[torch.Tensor, ...]:
        hidden += update
        if norm.kind == "layer":
            return hidden, F.layer_norm(hidden, weight.shape, weight, bias, EPS)
        return hidden, F.rms_norm(hidden, weight.shape, weight, EPS)

    def ours(hidden: torch.Tensor, update: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return hidden, add_norm(hidden, update, weight, bias, EPS, norm.kind, backend=backend)

    calls: dict[str, Provider] = {backend: ours, CHAIN: chain}
    if weight.is_cuda:  # on a CPU it would need a C++ compiler
        calls["compile"] = compiled(chain)
    return calls


run = Benchmark(draw, [(SHAPES[0], 1)], list(product(SHAPES, (1, 8, 64))))

"""rotary against transformers' chain, which turns halves, and against products of complex numbers, which we had."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch

from kernels.backend import Backend
from kernels.bandwidth import CHAIN, Benchmark, Case, Provider
from kernels.compiling import compiled
from kernels.rotary import pairs, rotary
from kernels.rotary.reference import rotary as in_full


@dataclass(frozen=True, slots=True)
class Shape:
    name: str
    patches: int
    """of an image"""
    heads: int
    width: int
    """of a head"""


SHAPES = Shape("Qwen2.5-VL/448", 1024, 16, 80), Shape("Pixtral/512", 1024, 16, 64)


def draw(shape: Shape, batch: int, dtype: torch.dtype, device: torch.device, backend: Backend) -> Case:
    random = torch.Generator(device).manual_seed(0)
    tokens = batch * shape.patches
    qkv = torch.randn(tokens, 3 * shape.heads * shape.width, device=device, generator=random).to(dtype)
    angles = 30 * torch.rand(tokens, shape.width // 2, device=device, generator=random)
    rotations = torch.polar(torch.ones_like(angles), angles)
    return Case(
        kernel="rotary",
        shape=shape.name,
        batch=batch,
        inputs=(qkv,),
        exact=_queries_and_keys(in_full(qkv.double(), rotations, shape.heads), shape.heads),
        providers=providers(rotations, shape.heads, backend),
        least_bytes=2 * qkv.nbytes // 3 * 2 + rotations.nbytes,
        flops=2 * qkv.numel(),  # six for each pair of query and key
    )


run = Benchmark(draw, [(shape, 1) for shape in SHAPES], list(product(SHAPES, (1, 8, 64))))


def providers(rotations: torch.Tensor, heads: int, backend: Backend) -> dict[str, Provider]:
    """qkv [tokens, 3 · hidden] to queries and keys, [tokens, heads, width] each."""
    # in transformers a head's halves turn with each other, and here what is adjacent: as much work
    cos, sin = (part.repeat_interleave(2, 1)[:, None] for part in (rotations.real, rotations.imag))

    def chain(qkv: torch.Tensor) -> tuple[torch.Tensor, ...]:
        query, key = (one.float() for one in _queries_and_keys(qkv, heads))
        return tuple((one * cos + _across(one) * sin).to(qkv.dtype) for one in (query, key))

    def ours(qkv: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return _queries_and_keys(rotary(qkv, rotations, heads, backend=backend), heads)

    def as_complex(qkv: torch.Tensor) -> tuple[torch.Tensor, ...]:
        pairs.rotary(qkv, rotations, heads)
        return _queries_and_keys(qkv, heads)

    calls: dict[str, Provider] = {backend: ours, CHAIN: chain}
    if rotations.is_cuda:  # on a CPU ours is that product, and torch.compile would need a C++ compiler
        calls |= {"complex": as_complex, "compile": compiled(chain)}
    return calls


def _queries_and_keys(qkv: torch.Tensor, heads: int) -> tuple[torch.Tensor, ...]:
    query, key, _ = torch.unflatten(qkv, 1, (3, heads, -1)).unbind(1)
    return query, key


def _across(x: torch.Tensor) -> torch.Tensor:
    """(a, b) → (−b, a) of every pair."""
    first, second = torch.unflatten(x, -1, (-1, 2)).unbind(-1)
    return torch.stack((-second, first), -1).flatten(-2)

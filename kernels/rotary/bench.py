"""rotary against transformers' chain, which turns halves, and against products of complex numbers, which we had."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from kernels import bandwidth
from kernels.backend import Backend
from kernels.bandwidth import CHAIN, Case, Provider
from kernels.report import Machine, Report
from kernels.rotary import pairs, rotary
from kernels.rotary.reference import rotary as in_full

TOWERS = {"Qwen2.5-VL/448": (1024, 16, 80), "Pixtral/512": (1024, 16, 64)}
"""Patches of an image, heads and their width."""
BATCHES = {"cpu": (1,), "cuda": (1, 8, 64)}


def run(device: torch.device, rounds: int, machine: Machine) -> Iterator[Report]:
    """Gate and time every case that suits the device, one after the other."""
    return bandwidth.run(draw, device, rounds, machine)


def draw(dtype: torch.dtype, device: torch.device, backend: Backend) -> Iterator[Case]:
    for name, (patches, heads, width) in TOWERS.items():
        for batch in BATCHES[device.type]:
            random = torch.Generator(device).manual_seed(0)
            qkv = torch.randn(batch * patches, 3 * heads * width, device=device, generator=random).to(dtype)
            angles = 30 * torch.rand(batch * patches, width // 2, device=device, generator=random)
            rotations = torch.polar(torch.ones_like(angles), angles)
            exact = in_full(qkv.double(), rotations, heads)
            yield Case(
                kernel="rotary",
                shape=name,
                batch=batch,
                inputs=(qkv,),
                exact=_queries_and_keys(exact, heads),
                providers=providers(rotations, heads, backend),
                least_bytes=2 * qkv.nbytes // 3 * 2 + rotations.nbytes,
                flops=2 * qkv.numel(),  # six for each pair of query and key
            )


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
        calls |= {"complex": as_complex, "compile": bandwidth.compiled(chain)}
    return calls


def _queries_and_keys(qkv: torch.Tensor, heads: int) -> tuple[torch.Tensor, ...]:
    query, key, _ = torch.unflatten(qkv, 1, (3, heads, -1)).unbind(1)
    return query, key


def _across(x: torch.Tensor) -> torch.Tensor:
    """(a, b) → (−b, a) of every pair."""
    first, second = torch.unflatten(x, -1, (-1, 2)).unbind(-1)
    return torch.stack((-second, first), -1).flatten(-2)

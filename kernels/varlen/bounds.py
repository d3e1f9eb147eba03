"""Attention among segments of any lengths in one call: PyTorch's `varlen_attn` (2.11 or later), FlashAttention's.

A layer is one launch, however many lengths its windows have; `attention.py` has one for each length.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

from kernels.transfer import send
from kernels.varlen.sequence import Segments

MODULE = "torch.nn.attention.varlen"
DTYPES = (torch.bfloat16, torch.float16)
WIDEST = 256
"""Numbers of a head that FlashAttention takes."""


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """Where segments begin and end, made by `bounds_of`."""

    ends: torch.Tensor
    """int32 [segments + 1], the first 0"""
    longest: int
    index: torch.Tensor | None
    """int64 [tokens]: which token comes here, where the segments do not lie one after the other as they are."""


def bounds_of(groups: Sequence[Segments], device: torch.device) -> Bounds:
    """The groups' segments, one after the other. Asks the device for nothing."""
    lengths = [group.length for group in groups for _ in range(group.count)]
    ends = torch.tensor([*accumulate(lengths, initial=0)], dtype=torch.int32)
    begins = accumulate((group.tokens for group in groups), initial=0)
    in_order = all(
        group.index is None and group.begin == begin for group, begin in zip(groups, begins, strict=False)
    )
    index = None if in_order else torch.cat([_where(group, device) for group in groups])
    return Bounds(send(ends, device), max(lengths), index)


def attend_bounds(qkv: torch.Tensor, bounds: Bounds, heads: int) -> torch.Tensor:
    """[tokens, 3 · hidden], queries and keys rotated, → [tokens, hidden], in one call."""
    given = qkv if bounds.index is None else qkv[bounds.index]
    query, key, value = torch.unflatten(given, 1, (3, heads, -1)).unbind(1)  # [tokens, heads, width]
    sizes = bounds.ends, bounds.ends, bounds.longest, bounds.longest
    seen = varlen_attn()(query, key, value, *sizes).flatten(1)  # scores times width ** -0.5
    if bounds.index is None:
        return seen
    return torch.empty_like(seen).index_copy_(0, bounds.index, seen)


def obstacle_to_one_call(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why a layer's attention cannot be one call; None where it can."""
    if importlib.util.find_spec(MODULE) is None:
        return f"PyTorch {torch.__version__} has no {MODULE}, which came with 2.11"
    if device.type != "cuda":
        return f"it runs on CUDA devices and the tower is on {device}"
    if dtype not in DTYPES:
        return f"it takes bfloat16 and float16, not {str(dtype).removeprefix('torch.')}"
    return None


def varlen_attn() -> Callable[..., torch.Tensor]:
    """Imported where it is used: older versions of PyTorch have none."""
    module: Any = importlib.import_module(MODULE)
    function: Callable[..., torch.Tensor] = module.varlen_attn
    return function


def _where(group: Segments, device: torch.device) -> torch.Tensor:
    if group.index is not None:
        return group.index
    return torch.arange(group.begin, group.begin + group.tokens, device=device)

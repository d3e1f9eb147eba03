"""The benchmark's chain is transformers', and every provider passes its gate."""

from __future__ import annotations

import pytest
import torch
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb_vision

from kernels import bandwidth
from kernels.rotary import bench

CPU = torch.device("cpu")
TINY = bench.Shape("tiny", 9, 3, 8)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_ours_passes(dtype: torch.dtype) -> None:
    case = bench.draw(TINY, 1, dtype, CPU, "cpu")
    assert bandwidth.gate(case, "cpu", bandwidth.measure_errors(case)) == []


def test_the_chain_is_transformers_in_another_order_of_a_heads_numbers() -> None:
    case = bench.draw(TINY, 1, torch.bfloat16, CPU, "cpu")
    (qkv,) = case.inputs
    made = case.providers["eager"](qkv)
    halves = torch.arange(8).view(4, 2).T.flatten()  # what rotates together, four apart
    angles = 30 * torch.rand(9, 4, generator=after(qkv))
    query, key = (qkv.view(9, 3, 3, 8)[:, part][..., halves] for part in range(2))
    cos, sin = (part.repeat(1, 2) for part in (angles.cos(), angles.sin()))
    for ours, theirs in zip(made, apply_rotary_pos_emb_vision(query, key, cos, sin), strict=True):
        assert torch.equal(ours[..., halves], theirs)


def after(qkv: torch.Tensor) -> torch.Generator:
    """The generator as the angles find it."""
    random = torch.Generator().manual_seed(0)
    torch.randn(qkv.shape, generator=random)
    return random

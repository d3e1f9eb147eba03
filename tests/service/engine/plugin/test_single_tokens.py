"""One token of a prompt, cut from a wider tensor, in vLLM's own convolution."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from service.engine.plugin.single_tokens import with_dense_strides

PROGRAM = """
import torch
from service.engine.plugin import register

register()
import vllm._custom_ops as operations

CHANNELS, WIDTH = 64, 4
torch.manual_seed(0)
weights = torch.randn(CHANNELS, WIDTH).bfloat16()
wider = torch.randn(2, 2 * CHANNELS).bfloat16()  # as the product in front of the convolution


def convolved(tokens):
    of_channels = wider[:tokens, :CHANNELS].contiguous()  # which copies nothing of a single one
    return operations.causal_conv1d_fwd_cpu(
        x=of_channels.transpose(0, 1),
        weight=operations.causal_conv1d_weight_pack(weights.clone()),
        bias=None,
        conv_states=torch.zeros(1, WIDTH - 1, CHANNELS).bfloat16().transpose(1, 2),
        query_start_loc=torch.tensor([0, tokens], dtype=torch.int32),
        cache_indices=torch.zeros(1, dtype=torch.int32),
        has_initial_state=torch.tensor([False]),
        silu_activation=True,
        is_weight_packed=True,
    )


first = convolved(2)[:, 0]
assert first.abs().sum() > 0
print("alone" if convolved(1)[:, 0].equal(first) else "otherwise")
"""


def convolve(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(
    not torch.cpu._is_avx512_bf16_supported(),
    reason="vLLM has this kernel on CPUs with bfloat16 instructions",
)
def test_an_engine_that_patchbay_starts_takes_a_single_token() -> None:
    assert "expect x to be transposed" in convolve({}).stderr, "no mend is needed any more"
    mended = convolve({"PATCHBAY_ENGINE": "1"})
    assert mended.stdout.strip().endswith("alone"), mended.stderr


def test_only_the_strides_of_a_single_token_change() -> None:
    wider = torch.arange(12.0).view(3, 4)
    several = wider.transpose(0, 1)
    assert with_dense_strides(several) is several
    one = wider[1:2, :2].transpose(0, 1)  # [2, 1]
    assert one.stride() == (1, 4)
    dense = with_dense_strides(one)
    assert dense.stride() == (1, 2) and dense.equal(one) and dense.data_ptr() == one.data_ptr()
    scattered = wider[:2, 1:2]
    assert with_dense_strides(scattered) is scattered

"""Prompts of a single token on a CPU.

The convolution in gated-delta layers, such as Qwen3.5's, takes [channels, tokens] whose tokens follow each other in
memory, and vLLM 0.32's kernel for CPUs with bfloat16 instructions checks that by strides. The stride from one token to
the next addresses nothing where there is one alone, and in a slice of a wider tensor it is not what the kernel expects.
Its error ends the engine, for everybody.
"""

from __future__ import annotations

from typing import Any

import torch


def with_dense_strides(channels: torch.Tensor) -> torch.Tensor:
    """The same [channels, tokens], with the strides of tokens that follow each other where there is only one."""
    return channels.as_strided(channels.shape, (1, len(channels))) if _is_column(channels) else channels


def accept_single_tokens() -> None:
    """Has vLLM's kernel called so in this process if vLLM runs on a CPU here; twice is harmless."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    import vllm._custom_ops as operations

    convolve = operations.causal_conv1d_fwd_cpu

    def causal_conv1d_fwd_cpu(x: torch.Tensor, *others: Any, **named: Any) -> Any:
        return convolve(with_dense_strides(x), *others, **named)

    operations.causal_conv1d_fwd_cpu = causal_conv1d_fwd_cpu


def _is_column(channels: torch.Tensor) -> bool:
    return channels.shape[1] == 1 and channels.stride(0) == 1

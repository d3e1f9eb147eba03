"""Requests with and without a LoRA adapter in one batch on a CPU.

vLLM marks the tokens of a request without an adapter with the index -1. Its kernels for GPUs pass them over; its
operations for CPUs, plain PyTorch, take the last adapter there is for them. So whoever asked the model itself was
answered by the adapter of a neighbour in the batch, and what the prefix cache kept of it answered others later.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import torch

OPERATIONS = ("bgmv_shrink", "bgmv_expand", "bgmv_expand_slice")
"""Those for the prompts of several requests, `sgmv_…`, call these."""
IMPORTED_BY = ("vllm.lora.ops.torch_ops", "vllm.lora.punica_wrapper.punica_cpu")

Operation = Callable[..., Any]


def for_adapted_tokens(operation: Operation) -> Operation:
    """`operation` of [tokens, width], which adds nothing to tokens whose index is negative."""

    @functools.wraps(operation)
    def adapted(
        inputs: torch.Tensor,
        weights: torch.Tensor,
        output: torch.Tensor,
        indices: torch.Tensor,
        *others: Any,
        **named: Any,
    ) -> Any:
        inputs = inputs.masked_fill((indices < 0).unsqueeze(1), 0)
        return operation(inputs, weights, output, indices, *others, **named)

    return adapted


def spare_the_model_itself() -> None:
    """Has vLLM's operations do so in this process if vLLM runs on a CPU here; twice is harmless."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    import vllm.lora.ops.torch_ops.lora_ops as operations

    for name in OPERATIONS:
        adapted = for_adapted_tokens(getattr(operations, name))
        for module in (operations, *(sys.modules.get(importer) for importer in IMPORTED_BY)):
            if module is not None:
                setattr(module, name, adapted)

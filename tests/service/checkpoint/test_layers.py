"""Which layers hold keys, by transformers' own configurations, and how large a state is, by vLLM's own shapes."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
from transformers import Qwen3_5TextConfig, Qwen3NextConfig

from service.checkpoint.layers import attention_layers, has_gated_delta, layer_types, state_bytes

QWEN35_9B: dict[str, Any] = {
    "full_attention_interval": 4,
    "layer_types": (["linear_attention"] * 3 + ["full_attention"]) * 8,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_value_head_dim": 128,
    "mamba_ssm_dtype": "float32",
}
QWEN3_NEXT = {name: value for name, value in QWEN35_9B.items() if name != "layer_types"}


@pytest.mark.parametrize("layers", [1, 3, 4, 5, 48])
@pytest.mark.parametrize("interval", [1, 2, 4])
def test_an_interval_means_what_transformers_means_by_it(layers: int, interval: int) -> None:
    for config in (Qwen3NextConfig, Qwen3_5TextConfig):
        theirs = config(num_hidden_layers=layers, full_attention_interval=interval).layer_types
        assert layer_types({"full_attention_interval": interval}, layers) == theirs


def test_only_layers_of_attention_hold_keys() -> None:
    assert attention_layers(QWEN35_9B, 32) == attention_layers(QWEN3_NEXT, 32) == 8
    assert attention_layers({}, 32) == attention_layers({"layer_types": None}, 32) == 32
    sliding = ["sliding_attention", "full_attention", "chunked_attention", "hybrid"]
    assert attention_layers({"layer_types": sliding}, 4) == 4
    assert attention_layers({"layer_types": ["mamba", "conv", "moe", "attention"]}, 4) == 1


@pytest.mark.parametrize(("ssm", "wide"), [("float32", 4), ("bfloat16", 2), (None, 2)])
def test_a_state_is_as_large_as_vllms(ssm: str | None, wide: int) -> None:
    from vllm.model_executor.layers.mamba.mamba_utils import MambaStateShapeCalculator

    convolution, state = MambaStateShapeCalculator.gated_delta_net_state_shape(1, 16, 32, 128, 128, 4)
    expected = 24 * (2 * prod(convolution) + wide * prod(state))
    assert state_bytes(QWEN35_9B | {"mamba_ssm_dtype": ssm}, 32, 2) == expected


def test_a_model_without_such_layers_has_no_state() -> None:
    assert state_bytes({}, 32, 2) == 0
    assert has_gated_delta(QWEN35_9B, 32) and has_gated_delta(QWEN3_NEXT, 32)
    assert not has_gated_delta(QWEN35_9B | {"layer_types": ["full_attention"] * 32}, 32)
    lightning = {
        "layer_types": ["linear_attention", "full_attention"]
    }  # MiniMax's have no fields of a delta rule
    assert not has_gated_delta(lightning, 2) and state_bytes(lightning, 2, 2) == 0

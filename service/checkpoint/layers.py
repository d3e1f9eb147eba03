"""What the layers of a language model keep: of each token its keys and values, or of each sequence a state.

In hybrid models (Qwen3-Next, Qwen3.5, MiniMax) most layers are recurrent: they hold no keys. Read from the language
model's part of config.json. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RECURRENT = ("linear_attention", "mamba", "conv", "moe")
"""Kinds of layers, as transformers names them in `layer_types`, that hold no keys and values of tokens."""
_LINEAR = "linear_attention"
_GATED_DELTA = (
    "linear_num_key_heads",
    "linear_key_head_dim",
    "linear_num_value_heads",
    "linear_value_head_dim",
    "linear_conv_kernel_dim",
)


def layer_types(text: Mapping[str, Any], layers: int) -> list[str]:
    """The kind of each of `layers` layers, where config.json says it; else all are of full attention.

    Qwen3-Next names no kinds, but how many layers there are to one of full attention, which is the last of them.
    """
    named, interval = text.get("layer_types"), text.get("full_attention_interval")
    if isinstance(named, list):
        return [str(kind) for kind in named[:layers]]
    if isinstance(interval, int) and interval > 0:
        return [_LINEAR if number % interval else "full_attention" for number in range(1, layers + 1)]
    return ["full_attention"] * layers


def attention_layers(text: Mapping[str, Any], layers: int) -> int:
    """How many hold keys and values of every token."""
    return sum(kind not in RECURRENT for kind in layer_types(text, layers))


def has_gated_delta(text: Mapping[str, Any], layers: int) -> bool:
    """Whether layers of gated-delta attention (Yang et al. 2024, arXiv:2412.06464) are among them."""
    return all(isinstance(text.get(name), int) for name in _GATED_DELTA) and (
        _LINEAR in layer_types(text, layers)
    )


def state_bytes(text: Mapping[str, Any], layers: int, item: int) -> int:
    """What the gated-delta layers hold of one sequence, in numbers of `item` bytes; 0 without such layers.

    Of each layer a matrix for each head of values, in `mamba_ssm_dtype`, and the inputs of a convolution that it will
    look back at, as vLLM 0.32 stores them.
    """
    if not has_gated_delta(text, layers):
        return 0
    key_heads, key, value_heads, value, kernel = (text[name] for name in _GATED_DELTA)
    wide = 4 if text.get("mamba_ssm_dtype") == "float32" else item
    of_layer = (
        value_heads * value * key * wide + (kernel - 1) * (2 * key_heads * key + value_heads * value) * item
    )
    return int(layer_types(text, layers).count(_LINEAR) * of_layer)

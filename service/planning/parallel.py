"""How a language model is divided among an engine's ranks, one GPU each, and which divisions vLLM cannot make.

Tensor parallelism cuts every layer (https://arxiv.org/abs/1909.08053), pipeline parallelism the sequence of layers into
stages. The keys and values of a token are divided by heads: where there are more ranks than heads of keys and values,
each rank holds one whole head, so that heads are held several times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.errors import ConfigurationError

DIVIDED = (
    "num_attention_heads",
    "intermediate_size",
    "linear_num_key_heads",
    "linear_num_value_heads",
)
"""Of the language model's part of config.json, what vLLM 0.32 divides by tensor_parallel_size without remainder."""


@dataclass(frozen=True, slots=True)
class Division:
    """vLLM's settings of these names."""

    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1

    @property
    def ranks(self) -> int:
        """Processes of the engine that compute; on GPUs, each has one of its own."""
        return self.tensor_parallel_size * self.pipeline_parallel_size

    def __str__(self) -> str:
        return (
            f"tensor_parallel_size {self.tensor_parallel_size}, "
            f"pipeline_parallel_size {self.pipeline_parallel_size}"
        )

    def stage(self, layers: int) -> float:
        """The part of the layers that is in the longest stage; `layers` 0: their number is not known."""
        return (
            math.ceil(layers / self.pipeline_parallel_size) / layers
            if layers
            else 1 / self.pipeline_parallel_size
        )

    def weights(self, whole: float, table: float, tables: int, layers: int) -> int:
        """Bytes of the weights on the rank with the most, of a model of `whole` bytes.

        `table` of them are an embedding table, and the model has one or two `tables`: where there are several stages,
        the first has that of the input and the last that of the output.
        """
        held = tables if self.pipeline_parallel_size == 1 else 1
        stage = (whole - tables * table) * self.stage(layers) + held * table
        return math.ceil(stage / self.tensor_parallel_size)

    def keys_and_values(self, whole: int, kv_heads: int, layers: int) -> int:
        """Bytes of one token's keys and values on a rank, of `whole` bytes in the whole model."""
        part = 1 / self.tensor_parallel_size
        return math.ceil(whole * self.stage(layers) * (max(part, 1 / kv_heads) if kv_heads else part))


def check_division(division: Division, text: Mapping[str, Any]) -> None:
    """Raises ConfigurationError where vLLM could not divide the language model whose part of config.json is `text`.

    Numbers that are not there are not checked.
    """
    size = division.tensor_parallel_size
    if (obstacle := _obstacle(size, text)) is not None:
        most = text.get("num_attention_heads") or size
        allowed = [str(other) for other in range(1, most + 1) if _obstacle(other, text) is None]
        raise ConfigurationError(
            f"tensor_parallel_size: got {size}, which does not fit the language model's {obstacle} ({text[obstacle]}); "
            f"allowed are {', '.join(allowed)}"
        )
    layers = text.get("num_hidden_layers")
    if isinstance(layers, int) and division.pipeline_parallel_size > layers:
        raise ConfigurationError(
            f"pipeline_parallel_size: got {division.pipeline_parallel_size}; the language model has {layers} layers, "
            f"and each stage takes at least one: allowed are 1 to {layers}"
        )


def _obstacle(size: int, text: Mapping[str, Any]) -> str | None:
    """What the language model has a number of that `size` ranks cannot share."""
    for name in DIVIDED:
        if isinstance(number := text.get(name), int) and number % size:
            return name
    kv_heads = text.get("num_key_value_heads")
    if isinstance(kv_heads, int) and kv_heads and kv_heads % size and size % kv_heads:
        return "num_key_value_heads"
    return None

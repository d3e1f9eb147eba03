"""Qwen3.5's geometry, which is Qwen3-VL's without DeepStack, and what its config.json may leave out. Standard library
only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from service.checkpoint.files import read_json, read_object
from service.errors import ConfigurationError
from service.families.native.geometry import NativeGeometry
from service.families.qwen3_vl.files import SIZES

_GATED_DELTA = {
    "full_attention_interval": 4,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_value_head_dim": 128,
}
_SHARED = {
    **_GATED_DELTA,
    "head_dim": 256,
    "max_position_embeddings": 32768,
    "num_attention_heads": 16,
    "vocab_size": 248320,
}
TEXT_DEFAULTS: dict[str, dict[str, Any]] = {
    "qwen3_5_text": {**_SHARED, "hidden_size": 4096, "num_hidden_layers": 32, "num_key_value_heads": 4},
    "qwen3_5_moe_text": {
        **_SHARED,
        "hidden_size": 2048,
        "num_experts": 256,
        "num_hidden_layers": 40,
        "num_key_value_heads": 2,
    },
}
"""The defaults of transformers' classes, by the model_type of the language model's part."""


def read_geometry(folder: Path) -> NativeGeometry:
    """Raises ConfigurationError naming the file and the field that is missing, contradictory or not supported."""
    _must_have_no_levels(folder)
    return NativeGeometry.from_checkpoint(
        folder,
        family="qwen3_5",
        architecture="Qwen3_5ForConditionalGeneration",
        patch=SIZES["patch_size"],
    )


def _must_have_no_levels(folder: Path) -> None:
    """Released checkpoints have an empty list; transformers ignores any, and vLLM ends at soft tokens of that width."""
    file = folder / "config.json"
    levels = read_object(read_json(file), "vision_config", file).get("deepstack_visual_indexes")
    if levels not in (None, []):
        raise ConfigurationError(
            f"model: {file} has deepstack_visual_indexes {levels!r}; this family has no DeepStack, and needed is []"
        )

"""Qwen2-VL's files as the hub has them: geometry, and the sizes of the tower for the resource plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from service.errors import ConfigurationError
from service.families import load_checkpoint, load_geometry
from service.families.qwen2_vl.files import vision_sizes
from tests.service.families.checkpoints import write_files
from tests.service.families.native import hub
from tests.service.tiny_qwen2_vl import write_checkpoint

CONFIG: dict[str, Any] = {
    **{name: value for name, value in hub.CONFIG.items() if name != "vision_config"},
    "architectures": ["Qwen2VLForConditionalGeneration"],
    "model_type": "qwen2_vl",
    "max_position_embeddings": 32768,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "torch_dtype": "bfloat16",
    "vision_config": {
        "depth": 32,
        "embed_dim": 1280,
        "mlp_ratio": 4,
        "num_heads": 16,
        "in_chans": 3,
        "hidden_size": 3584,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "spatial_patch_size": 14,
        "temporal_patch_size": 2,
    },
}
"""Of Qwen2-VL-7B-Instruct."""


def files(folder: Path, **replaced: Any) -> Path:
    contents = {
        "config": CONFIG,
        "preprocessor_config": hub.PROCESSOR | {"processor_class": "Qwen2VLProcessor"},
        "tokenizer": hub.TOKENIZER,
    }
    return write_files(folder, contents | replaced)


def test_the_hubs_files_are_read(tmp_path: Path) -> None:
    geometry = load_geometry(files(tmp_path))
    assert geometry.facts.family == "qwen2_vl"
    assert geometry.facts.architecture == "Qwen2VLForConditionalGeneration"
    assert geometry.max_tokens == 16384
    assert (geometry.facts.row_widths, geometry.facts.engine_tower) == (1, "absent")


def test_both_families_of_equal_files_have_keys_of_their_own(tmp_path: Path) -> None:
    ours = load_geometry(files(tmp_path)).facts.fingerprint
    assert (
        ours != load_geometry(files(tmp_path, config=CONFIG | {"model_type": "qwen2_5_vl"})).facts.fingerprint
    )


def test_the_plan_counts_the_towers_width_and_not_a_soft_tokens(tmp_path: Path) -> None:
    folder = files(tmp_path)
    save_file({}, folder / "model.safetensors")
    checkpoint = load_checkpoint(str(folder))
    assert (checkpoint.hidden_size, checkpoint.vision_hidden) == (3584, 1280)
    assert checkpoint.vision_config["intermediate_size"] == 5120


def test_sizes_that_config_leaves_out_are_transformers(tmp_path: Path) -> None:
    from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig

    theirs = Qwen2VLVisionConfig()
    ours = vision_sizes({})
    assert ours["hidden_size"] == theirs.embed_dim
    assert ours["intermediate_size"] == theirs.embed_dim * theirs.mlp_ratio


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_heads": 32}, "embed_dim 32 and num_heads 32; each head needs"),
        ({"hidden_size": 24}, "hidden_size 24 and the language model's hidden_size is 64"),
        ({"in_channels": 1}, "in_channels 1; needed are 3"),
        ({"depth": "many"}, "config.json is not Qwen2-VL's: .*depth"),
    ],
)
def test_a_tower_that_cannot_be_is_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    from service.families.loading import choose_tower

    write_checkpoint(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["vision_config"] |= fields
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigurationError, match=message):
        choose_tower(tmp_path, device="cpu", dtype="float32")

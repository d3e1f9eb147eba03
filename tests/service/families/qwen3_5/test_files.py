"""Qwen3.5's files as the hub has them: Qwen3-VL's geometry, rows of one width, and what its language model keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from service.errors import ConfigurationError
from service.families import load_checkpoint, load_geometry
from service.families.native.geometry import NativeGeometry
from service.families.qwen3_5.files import TEXT_DEFAULTS
from tests.service.families.checkpoints import write_files
from tests.service.families.qwen3_5.hub import CONFIG, MOE_CONFIG, PROCESSOR, TEXT, TOKENIZER, VISION
from tests.service.families.qwen3_vl import hub as qwen3_vl


def files(folder: Path, **replaced: Any) -> Path:
    folder.mkdir(exist_ok=True)
    contents = {"config": CONFIG, "preprocessor_config": PROCESSOR, "tokenizer": TOKENIZER}
    return write_files(folder, contents | replaced)


def test_images_are_planned_as_qwen3_vls(tmp_path: Path) -> None:
    """Whose plans and pixels are held against the processor's."""
    ours = load_geometry(files(tmp_path / "qwen3.5"))
    theirs = load_geometry(
        write_files(
            files(tmp_path / "qwen3"),
            {"config": qwen3_vl.CONFIG, "tokenizer": qwen3_vl.TOKENIZER},
        )
    )
    assert isinstance(ours, NativeGeometry) and isinstance(theirs, NativeGeometry)
    assert ours == replace(theirs, facts=ours.facts, image_token=248056)


def test_soft_tokens_are_of_one_width_and_the_engine_needs_no_tower(tmp_path: Path) -> None:
    facts = load_geometry(files(tmp_path)).facts
    assert (facts.family, facts.architecture) == ("qwen3_5", "Qwen3_5ForConditionalGeneration")
    assert (facts.row_widths, facts.engine_tower) == (1, "absent")
    assert {"<|image_pad|>", "<|video_pad|>", "<|vision_start|>"} <= set(facts.placeholders)


def test_a_checkpoint_with_experts_is_of_the_same_family(tmp_path: Path) -> None:
    facts = load_geometry(files(tmp_path, config=MOE_CONFIG)).facts
    assert (facts.family, facts.architecture) == ("qwen3_5", "Qwen3_5MoeForConditionalGeneration")


@pytest.mark.parametrize("levels", [[8, 16, 24], [0], "all"])
def test_levels_of_deepstack_are_refused(tmp_path: Path, levels: Any) -> None:
    vision = VISION | {"deepstack_visual_indexes": levels}
    with pytest.raises(ConfigurationError, match="deepstack_visual_indexes .* this family has no DeepStack"):
        load_geometry(files(tmp_path, config=CONFIG | {"vision_config": vision}))


def test_keys_of_one_layer_in_four_and_states_of_the_others(tmp_path: Path) -> None:
    folder = files(tmp_path)
    save_file({}, folder / "model.safetensors")
    found = load_checkpoint(str(folder))
    assert (found.hidden_size, found.vision_hidden, found.dtype) == (5120, 1152, "bfloat16")
    assert found.kv_bytes_per_token == 2 * 16 * 4 * 256 * 2
    assert found.state_bytes == 48 * (48 * 128 * 128 * 4 + 3 * (2 * 16 + 48) * 128 * 2)


def test_what_config_leaves_out_is_transformers(tmp_path: Path) -> None:
    from transformers import Qwen3_5MoeTextConfig, Qwen3_5TextConfig
    from transformers.models.qwen3_5.configuration_qwen3_5 import Qwen3_5VisionConfig

    for kind in (Qwen3_5TextConfig, Qwen3_5MoeTextConfig):
        defaults = {**TEXT_DEFAULTS[kind.model_type]}
        interval = defaults.pop("full_attention_interval")
        theirs = kind()
        assert {name: getattr(theirs, name) for name in defaults} == defaults
        assert kind(full_attention_interval=interval).layer_types == theirs.layer_types
    bare = {"model_type": "qwen3_5_text", "hidden_size": 2560}
    folder = files(tmp_path, config=CONFIG | {"text_config": bare, "vision_config": {}})
    save_file({}, folder / "model.safetensors")
    found, vision = load_checkpoint(str(folder)), Qwen3_5VisionConfig()
    assert (found.hidden_size, found.context) == (2560, 32768)
    assert found.kv_bytes_per_token == 2 * 8 * 4 * 256 * 4
    geometry = load_geometry(folder)
    assert isinstance(geometry, NativeGeometry) and geometry.patch == vision.patch_size
    assert (found.vision_config["depth"], found.vision_hidden) == (vision.depth, vision.hidden_size)


def test_text_without_its_own_kinds_of_layers_follows_the_interval(tmp_path: Path) -> None:
    text = {name: value for name, value in TEXT.items() if name != "layer_types"}
    folder = files(tmp_path, config=CONFIG | {"text_config": text})
    save_file({}, folder / "model.safetensors")
    assert load_checkpoint(str(folder)).kv_bytes_per_token == 2 * 16 * 4 * 256 * 2

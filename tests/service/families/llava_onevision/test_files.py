"""What a checkpoint says of its geometry, as the hub has it, and files that disagree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.errors import ConfigurationError
from service.families import load_checkpoint, load_geometry
from service.families.llava_onevision.geometry import LlavaOnevisionGeometry
from tests.service.families.checkpoints import write_files
from tests.service.families.llava_onevision.hub import CONFIG, PROCESSOR, TOKENIZER, VISION, WHOLE


def write(folder: Path, **replaced: Any) -> Path:
    contents = {
        "config": CONFIG,
        "preprocessor_config": PROCESSOR,
        "processor_config": WHOLE,
        "tokenizer": TOKENIZER,
        "tokenizer_config": {},
    }
    return write_files(folder, contents | replaced)


def without(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def test_what_the_hubs_files_say(tmp_path: Path) -> None:
    geometry = load_geometry(write(tmp_path))
    assert isinstance(geometry, LlavaOnevisionGeometry)
    assert (geometry.tile, geometry.grid, geometry.image_token) == (384, 27, 151646)
    assert len(geometry.canvases) == 36 and geometry.canvases[1] == (768, 384)
    facts = geometry.facts
    assert (facts.family, facts.architecture) == ("llava_onevision", "LlavaOnevisionForConditionalGeneration")
    assert facts.placeholders == ("<image>", "<video>")


def test_what_nobody_says_is_the_default_of_transformers_classes(tmp_path: Path) -> None:
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionImageProcessor,
        Qwen2Config,
        SiglipVisionConfig,
    )

    from service.families.llava_onevision.files import DEFAULTS, PINPOINTS, TEXT_DEFAULTS

    theirs = LlavaOnevisionConfig()
    assert theirs.image_grid_pinpoints == LlavaOnevisionImageProcessor().image_grid_pinpoints == PINPOINTS
    assert theirs.vision_config.model_type == DEFAULTS.tower
    assert theirs.vision_feature_select_strategy == DEFAULTS.strategy
    vision = SiglipVisionConfig()
    assert (vision.image_size, vision.patch_size) == (DEFAULTS.image_size, DEFAULTS.patch_size)
    given = TEXT_DEFAULTS["qwen2"]
    assert {name: getattr(Qwen2Config(), name) for name in given} == given
    said = load_geometry(write(tmp_path))
    silent = {
        "config": without(
            CONFIG, "image_grid_pinpoints", "vision_aspect_ratio", "vision_feature_select_strategy"
        ),
        "preprocessor_config": without(PROCESSOR, "image_grid_pinpoints"),
        "processor_config": without(WHOLE, "vision_aspect_ratio"),
    }
    assert load_geometry(write(tmp_path, **silent)).max_tokens == said.max_tokens


def test_what_config_leaves_out_of_the_language_model(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    found = load_checkpoint(str(folder))
    assert (found.hidden_size, found.context, found.vision_hidden) == (3584, 32768, 1152)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"config": CONFIG | {"vision_aspect_ratio": "anyres_max_4"}}, "'anyres_max_4'; only 'anyres_max_9'"),
        (
            {"processor_config": WHOLE | {"vision_aspect_ratio": "square"}},
            "processor_config.json has vision_aspect_ratio 'square'",
        ),
        ({"config": CONFIG | {"vision_config": {**VISION, "image_size": 336}}}, "tower takes 336×336"),
        ({"config": CONFIG | {"vision_config": {**VISION, "patch_size": 400}}}, "patch_size 400"),
        ({"config": CONFIG | {"vision_feature_select_strategy": "default"}}, "whose first token is a patch"),
        ({"config": CONFIG | {"image_grid_pinpoints": [[384, 768]]}}, "needed are the same"),
        ({"preprocessor_config": PROCESSOR | {"resample": 1}}, "resample = 1; only"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_disagree_are_refused(tmp_path: Path, replaced: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_geometry(write(tmp_path, **replaced))


def test_the_fingerprint_follows_what_decides_pixels_and_tokens(tmp_path: Path) -> None:
    one = load_geometry(write(tmp_path)).facts.fingerprint
    assert load_geometry(write(tmp_path, tokenizer_config={"a": 1})).facts.fingerprint == one
    changed = PROCESSOR | {"image_std": [0.4, 0.5, 0.5]}
    assert load_geometry(write(tmp_path, preprocessor_config=changed)).facts.fingerprint != one

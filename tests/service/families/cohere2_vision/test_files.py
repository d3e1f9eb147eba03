"""What a checkpoint says of its geometry, as the hub has it, and files that are missing or disagree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import Cohere2Config

from service.errors import ConfigurationError
from service.families import load_geometry
from service.families.cohere2_vision.files import TEXT_DEFAULTS
from service.families.cohere2_vision.geometry import Cohere2VisionGeometry
from service.families.registry import family_of
from tests.service.families.checkpoints import write_files
from tests.service.families.cohere2_vision.hub import ADDED, CONFIG, PROCESSOR, TOKENIZER, VISION, WHOLE

Write = Callable[..., Path]
PATCH = "has patch_size {}, which is how many soft tokens a side of a tile has; the tower makes {}"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """The folder of Command A Vision's files, with some replaced."""

    def files(**replaced: Any) -> Path:
        contents = {
            "config": CONFIG,
            "preprocessor_config": PROCESSOR,
            "processor_config": WHOLE,
            "tokenizer": TOKENIZER,
            "tokenizer_config": {},
        }
        return write_files(tmp_path, contents | replaced)

    return files


def read(folder: Path) -> Cohere2VisionGeometry:
    geometry = load_geometry(folder)
    assert isinstance(geometry, Cohere2VisionGeometry)
    return geometry


def test_what_the_hubs_files_say(write: Write) -> None:
    geometry = read(write())
    assert (geometry.tile_width, geometry.tile_height, geometry.max_patches) == (512, 512, 12)
    assert (geometry.patches_per_tile, geometry.tokens_per_tile, geometry.max_tokens) == (1024, 256, 13 * 256)
    assert (geometry.start_token, geometry.end_token) == (255032, 255033)
    assert (geometry.context_token, geometry.line_break_token) == (255036, 255034)
    facts = geometry.facts
    assert (facts.family, facts.architecture) == ("cohere2_vision", "Cohere2VisionForConditionalGeneration")
    assert set(facts.placeholders) == {token["content"] for token in ADDED}
    assert facts.independent_tiles and facts.counted and facts.max_images is None


def test_what_the_files_leave_out_is_as_in_transformers_classes(write: Write) -> None:
    bare = {name: PROCESSOR[name] for name in ("image_mean", "image_std")}
    vision = {name: value for name, value in VISION.items() if name not in ("model_type", "patch_size")}
    config = {name: CONFIG[name] for name in ("model_type", "text_config")}
    left_out = read(write(config=config | {"vision_config": vision}, preprocessor_config=bare))
    whole = read(write())
    assert left_out.largest == whole.largest
    assert left_out.facts.architecture == whole.facts.architecture


def test_what_the_language_model_leaves_out_is_as_in_transformers_class() -> None:
    theirs = Cohere2Config()
    assert TEXT_DEFAULTS["cohere2"] == {name: getattr(theirs, name) for name in TEXT_DEFAULTS["cohere2"]}


def test_without_crops_every_image_is_one_tile(write: Write) -> None:
    geometry = read(write(preprocessor_config=PROCESSOR | {"crop_to_patches": False}))
    assert (geometry.max_patches, geometry.max_tokens) == (1, 256)


def test_names_of_tokens_come_from_the_tokenizers_settings(write: Write) -> None:
    added = [{"id": 255036, "content": "<soft>"}, *ADDED[:3]]
    named = {"image_token": "<soft>"}
    geometry = read(write(tokenizer=TOKENIZER | {"added_tokens": added}, tokenizer_config=named))
    assert geometry.context_token == 255036 and "<soft>" in geometry.facts.placeholders


def test_the_fingerprint_follows_what_decides_pixels_and_rows(write: Write) -> None:
    def fingerprint(**replaced: Any) -> str:
        return read(write(**replaced)).facts.fingerprint

    assert fingerprint() == fingerprint(tokenizer_config=None)
    others = [
        fingerprint(),
        fingerprint(preprocessor_config=PROCESSOR | {"max_patches": 6}),
        fingerprint(preprocessor_config=PROCESSOR | {"image_mean": [0.5, 0.5, 0.5]}),
        fingerprint(config=CONFIG | {"vision_config": VISION | {"hidden_size": 9}}),
        fingerprint(
            config=CONFIG | {"downsample_factor": 4}, preprocessor_config=PROCESSOR | {"patch_size": 8}
        ),
    ]
    assert len(set(others)) == len(others)


@pytest.mark.parametrize(
    ("stored", "ours"),
    [
        ("model.vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight", True),
        ("model.vision_tower.embeddings.patch_embedding.weight", True),
        ("vision_tower.vision_model.post_layernorm.bias", True),
        ("model.multi_modal_projector.linear_1.bias", True),
        ("model.language_model.layers.0.mlp.up_proj.weight", False),
        ("lm_head.weight", False),
    ],
)
def test_which_tensors_are_the_towers(write: Write, stored: str, ours: bool) -> None:
    assert family_of(write()).owns(stored) == ours


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"config": {"model_type": "cohere2_vision"}}, "config.json has no vision_config"),
        ({"config": CONFIG | {"image_token_id": 5}}, "image_token_id 5 and tokenizer.json gives"),
        ({"config": CONFIG | {"downsample_factor": 5}}, "downsample_factor 5, which do not divide"),
        ({"config": CONFIG | {"downsample_factor": 0.5}}, "downsample_factor 0.5, which do not divide"),
        ({"config": CONFIG | {"downsample_factor": 4}}, PATCH.format(16, 8)),
        (
            {"config": CONFIG | {"vision_config": VISION | {"patch_size": 600}}},
            "patch_size 600 and downsample",
        ),
        (
            {"config": CONFIG | {"vision_config": VISION | {"patch_size": "16"}}},
            "patch_size '16' and downsample",
        ),
        ({"config": CONFIG | {"vision_config": VISION | {"image_size": 384}}}, "takes images of 384 pixels"),
        (
            {"config": CONFIG | {"vision_config": VISION | {"model_type": "clip_vision_model"}}},
            "'clip_vision_model'; needed is 'siglip_vision_model'",
        ),
        ({"preprocessor_config": None}, "neither preprocessor_config.json nor"),
        ({"preprocessor_config": PROCESSOR | {"patch_size": 14}}, PATCH.format(14, 16)),
        ({"preprocessor_config": PROCESSOR | {"resample": 2}}, "resample = 2; only 3"),
        ({"preprocessor_config": PROCESSOR | {"do_resize": False}}, "do_resize = False"),
        ({"preprocessor_config": PROCESSOR | {"rescale_factor": 1}}, "rescale_factor = 1"),
        ({"preprocessor_config": PROCESSOR | {"max_patches": 0}}, "max_patches 0; needed is a whole number"),
        ({"preprocessor_config": PROCESSOR | {"max_patches": 1025}}, "max_patches 1025; .*from 1 to 1024"),
        ({"preprocessor_config": PROCESSOR | {"size": {"height": 512, "width": 256}}}, "'width': 256}"),
        ({"preprocessor_config": PROCESSOR | {"size": 512}}, "has size 512 and the tower"),
        ({"tokenizer": TOKENIZER | {"added_tokens": ADDED[:-1]}}, r"no token '<\|IMG_PATCH\|>'"),
        ({"tokenizer": TOKENIZER | {"added_tokens": ADDED[1:]}}, r"START_OF_IMG\|>' \(boi_token\)"),
        ({"tokenizer": TOKENIZER | {"added_tokens": ADDED[:2] + ADDED[3:]}}, "IMG_LINE_BREAK"),
        ({"tokenizer": None}, "has no tokenizer.json"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_are_missing_or_disagree_are_refused(
    write: Write, replaced: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_geometry(write(**replaced))

"""What a checkpoint says of its geometry, as the hub has it, and files that disagree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.domain import LanguageModel
from service.errors import ConfigurationError
from service.families import load_checkpoint, load_geometry
from service.families.idefics2.files import LATENTS, TEXT_DEFAULTS, VISION_DEFAULTS
from service.families.idefics2.geometry import Idefics2Geometry
from tests.service.families.checkpoints import write_files
from tests.service.families.idefics2.hub import CONFIG, PROCESSOR, TOKENIZER, WHOLE


def write(folder: Path, **replaced: Any) -> Path:
    contents = {
        "config": CONFIG,
        "preprocessor_config": PROCESSOR,
        "processor_config": WHOLE,
        "tokenizer": TOKENIZER,
        "tokenizer_config": {},
    }
    return write_files(folder, contents | replaced)


def test_what_the_hubs_files_say(tmp_path: Path) -> None:
    geometry = load_geometry(write(tmp_path))
    assert isinstance(geometry, Idefics2Geometry)
    assert (geometry.patch, geometry.shortest, geometry.longest) == (14, 378, 980)
    assert (geometry.splits, geometry.latents, geometry.max_tokens) == (True, 64, 320)
    assert (geometry.image_token, geometry.fake_token) == (32001, 32000)
    facts = geometry.facts
    assert (facts.family, facts.architecture) == ("idefics2", "Idefics2ForConditionalGeneration")
    assert (facts.placeholders, facts.min_side) == (("<image>", "<fake_token_around_image>"), 2)
    assert facts.language == LanguageModel("MistralForCausalLM", "model.text_model.", "<image>")


def test_what_config_leaves_out_is_the_default_of_its_classes(tmp_path: Path) -> None:
    from transformers import Idefics2Config, MistralConfig

    theirs = Idefics2Config()
    assert {name: getattr(theirs.vision_config, name) for name in VISION_DEFAULTS} == VISION_DEFAULTS
    assert theirs.perceiver_config.resampler_n_latents == LATENTS
    text = TEXT_DEFAULTS["mistral"]
    given = MistralConfig()
    sizes = [name for name in text if name != "max_position_embeddings"]
    assert {name: getattr(given, name) for name in sizes} == {name: text[name] for name in sizes}
    folder = write(tmp_path)
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    found = load_checkpoint(str(folder))
    assert (found.hidden_size, found.vision_hidden) == (4096, 1152)


def test_a_processor_that_does_not_split(tmp_path: Path) -> None:
    geometry = load_geometry(write(tmp_path, preprocessor_config=PROCESSOR | {"do_image_splitting": False}))
    assert (geometry.max_tokens, geometry.facts.min_side) == (64, 1)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"config": CONFIG | {"image_token_id": 5}}, "image_token_id 5 and tokenizer.json gives"),
        ({"config": CONFIG | {"text_config": {"model_type": "llama"}}}, "model_type 'llama'; only 'mistral'"),
        ({"config": CONFIG | {"vision_config": None}}, "has no vision_config"),
        ({"config": CONFIG | {"vision_config": {"patch_size": 0}}}, "patch_size 0 and image_size 224"),
        (
            {"config": CONFIG | {"vision_config": {"patch_size": 400, "image_size": 980}}},
            "patch_size 400 .* no more than the latter and the 378 pixels",
        ),
        ({"config": CONFIG | {"perceiver_config": {"resampler_n_latents": 32}}}, "32 and the processor"),
        ({"preprocessor_config": PROCESSOR | {"resample": 3}}, "resample = 3; only 2"),
        ({"preprocessor_config": PROCESSOR | {"size": {"height": 9, "width": 9}}}, "1 ≤ shortest_edge"),
        (
            {"preprocessor_config": PROCESSOR | {"size": {"longest_edge": 9, "shortest_edge": 10}}},
            "shortest_edge ≤ longest_edge",
        ),
        ({"tokenizer": TOKENIZER | {"added_tokens": []}}, "no token '<image>'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_disagree_are_refused(tmp_path: Path, replaced: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_geometry(write(tmp_path, **replaced))


def test_the_fingerprint_follows_what_decides_soft_tokens(tmp_path: Path) -> None:
    one = load_geometry(write(tmp_path)).facts.fingerprint
    assert load_geometry(write(tmp_path, tokenizer_config={"a": 1})).facts.fingerprint == one
    changed = CONFIG | {"perceiver_config": {"resampler_depth": 6}}
    assert load_geometry(write(tmp_path, config=changed)).facts.fingerprint != one

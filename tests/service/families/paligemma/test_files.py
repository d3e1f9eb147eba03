"""What a checkpoint says of its geometry, as the hub has it, and files that disagree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.domain import Detail, Filter, Run
from service.errors import ConfigurationError
from service.families import load_checkpoint, load_geometry
from service.families.square import SquareGeometry
from tests.service.families.checkpoints import write_files
from tests.service.families.paligemma.hub import (
    CONFIG,
    PROCESSOR,
    SECOND_CONFIG,
    SECOND_PROCESSOR,
    TOKENIZER,
    VISION,
)


def write(folder: Path, **replaced: Any) -> Path:
    contents = {
        "config": CONFIG,
        "preprocessor_config": PROCESSOR,
        "tokenizer": TOKENIZER,
        "tokenizer_config": {"add_bos_token": True, "bos_token": "<bos>"},
    }
    return write_files(folder, contents | replaced)


def test_what_the_hubs_files_say(tmp_path: Path) -> None:
    geometry = load_geometry(write(tmp_path))
    assert isinstance(geometry, SquareGeometry)
    assert (geometry.tile, geometry.patches, geometry.filter) == (224, 256, Filter.BICUBIC)
    layout = geometry.plan(640, 480, Detail.AUTO).layout
    assert layout.target == () and layout.runs == (Run(257152, 256, True), Run(2, 1, False))
    assert layout.joins == ((2, 2, 2),) and layout.ending == 108
    facts = geometry.facts
    assert (facts.family, facts.architecture) == ("paligemma", "PaliGemmaForConditionalGeneration")
    assert (facts.placeholders, facts.bidirectional_images, facts.max_images) == (("<image>",), True, 1)


def test_the_second_generation(tmp_path: Path) -> None:
    folder = write(tmp_path, config=SECOND_CONFIG, preprocessor_config=SECOND_PROCESSOR)
    assert load_geometry(folder).max_tokens == 1024
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    found = load_checkpoint(str(folder))
    assert (found.hidden_size, found.context, found.tied) == (2304, 8192, True)


def test_the_defaults_are_transformers() -> None:
    from transformers import Gemma2Config, GemmaConfig, PaliGemmaConfig

    from service.families.paligemma.files import TEXT_DEFAULTS

    for kind in (GemmaConfig(), Gemma2Config()):
        given = TEXT_DEFAULTS[kind.model_type]
        assert {name: getattr(kind, name) for name in given} == given
    assert PaliGemmaConfig(vision_config=dict(VISION)).vision_config.image_size == 224


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"config": CONFIG | {"image_token_index": 5}}, "image_token_index 5 and tokenizer.json gives"),
        ({"config": CONFIG | {"vision_config": {**VISION, "image_size": 448}}}, "image_size 448"),
        ({"config": CONFIG | {"vision_config": None}}, "has no vision_config"),
        (
            {"preprocessor_config": PROCESSOR | {"image_seq_length": 1024}},
            "image_seq_length 1024, and the tower makes 256",
        ),
        ({"preprocessor_config": PROCESSOR | {"resample": 2}}, "resample = 2; only 3"),
        ({"tokenizer": TOKENIZER | {"model": {"vocab": {}}}}, r"no token '\\n' \(newline\)"),
        ({"tokenizer": TOKENIZER | {"added_tokens": []}}, "no token '<image>'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_disagree_are_refused(tmp_path: Path, replaced: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_geometry(write(tmp_path, **replaced))


def test_the_fingerprint_follows_what_decides_pixels(tmp_path: Path) -> None:
    one = load_geometry(write(tmp_path)).facts.fingerprint
    assert load_geometry(write(tmp_path, tokenizer_config={"a": 1})).facts.fingerprint == one
    changed = PROCESSOR | {"image_std": [0.4, 0.5, 0.5]}
    assert load_geometry(write(tmp_path, preprocessor_config=changed)).facts.fingerprint != one

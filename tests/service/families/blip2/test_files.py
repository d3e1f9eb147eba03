"""What a checkpoint says of its geometry, as the hub has it, and files that disagree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.domain import Detail, Filter, Run
from service.errors import ConfigurationError
from service.families import load_checkpoint, load_geometry
from service.families.square import SquareGeometry
from tests.service.families.blip2.hub import CONFIG, PROCESSOR, TOKENIZER, WHOLE
from tests.service.families.checkpoints import write_files


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
    assert isinstance(geometry, SquareGeometry)
    assert (geometry.tile, geometry.patches, geometry.filter) == (224, 256, Filter.BICUBIC)
    layout = geometry.plan(640, 480, Detail.AUTO).layout
    assert (layout.target, layout.runs) == ((), (Run(50265, 32, True),))
    facts = geometry.facts
    assert (facts.family, facts.architecture) == ("blip2", "Blip2ForConditionalGeneration")
    assert (facts.placeholders, facts.bidirectional_images, facts.max_images) == (("<image>",), False, 1)


def test_what_config_leaves_out_is_the_default_of_its_classes(tmp_path: Path) -> None:
    from transformers import Blip2Config, OPTConfig

    from service.families.blip2.files import QUERIES, TEXT_DEFAULTS, VISION_DEFAULTS

    given = TEXT_DEFAULTS["opt"]
    assert {name: getattr(OPTConfig(), name) for name in given} == given
    theirs = Blip2Config()
    assert {name: getattr(theirs.vision_config, name) for name in VISION_DEFAULTS} == VISION_DEFAULTS
    assert theirs.num_query_tokens == QUERIES
    folder = write(tmp_path)
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    found = load_checkpoint(str(folder))
    assert (found.hidden_size, found.context, found.vision_hidden) == (2560, 2048, 1408)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"config": CONFIG | {"image_token_index": 5}}, "image_token_index 5 and tokenizer.json gives"),
        ({"config": CONFIG | {"text_config": {"model_type": "t5"}}}, "model_type 't5'; only 'opt'"),
        ({"config": CONFIG | {"vision_config": {"image_size": 364}}}, "image_size 364 and patch_size 14"),
        ({"config": CONFIG | {"vision_config": None}}, "has no vision_config"),
        ({"config": CONFIG | {"num_query_tokens": 16}}, "num_query_tokens 16 and the processor 32"),
        ({"preprocessor_config": PROCESSOR | {"resample": 2}}, "resample = 2; only 3"),
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
    changed = CONFIG | {"qformer_config": {"num_hidden_layers": 6}}
    assert load_geometry(write(tmp_path, config=changed)).facts.fingerprint != one

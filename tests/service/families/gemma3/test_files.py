"""What a checkpoint says of its geometry, as the hub has it, and files that disagree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.domain import Filter, Run
from service.errors import ConfigurationError
from service.families import load_checkpoint, load_geometry
from service.families.square import SquareGeometry
from tests.service.families.checkpoints import write_files
from tests.service.families.gemma3.hub import CONFIG, PROCESSOR, TOKENIZER, VISION, WHOLE

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """The folder of gemma-3-4b-it's files, with some replaced."""

    def files(**replaced: Any) -> Path:
        contents = {
            "config": CONFIG,
            "preprocessor_config": PROCESSOR,
            "processor_config": WHOLE,
            "tokenizer": TOKENIZER,
            "tokenizer_config": {"boi_token": "<start_of_image>"},
        }
        return write_files(tmp_path, contents | replaced)

    return files


def test_what_the_hubs_files_say(write: Write) -> None:
    geometry = load_geometry(write())
    assert isinstance(geometry, SquareGeometry)
    assert (geometry.tile, geometry.patches, geometry.max_tokens) == (896, 4096, 256)
    assert geometry.filter is Filter.BILINEAR
    layout = geometry.layout
    assert layout.target == (255999,)
    assert layout.runs == (
        Run(108, 1, False),
        Run(255999, 1, False),
        Run(262144, 256, True),
        Run(256000, 1, False),
        Run(108, 1, False),
    )
    facts = geometry.facts
    assert (facts.family, facts.architecture) == ("gemma3", "Gemma3ForConditionalGeneration")
    assert facts.placeholders == ("<start_of_image>", "<end_of_image>", "<image_soft_token>")
    assert facts.bidirectional_images


def test_two_newlines_join_with_any_number_of_which_there_is_a_token(write: Write) -> None:
    joins = {(left, right): joined for left, right, joined in load_geometry(write()).largest.layout.joins}
    assert joins[107, 108] == joins[108, 107] == 109
    assert joins[108, 108] == 110
    assert joins[135, 108] == joins[108, 135] == 137
    assert max(joins.values()) == 137 and all(108 in pair for pair in joins) and len(joins) == 57


def test_what_config_leaves_out_is_the_default_of_its_class(write: Write) -> None:
    folder = write()
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    found = load_checkpoint(str(folder))
    assert (found.hidden_size, found.context, found.tied) == (2560, 131072, True)
    # keys and values of 34 layers, 4 heads of 256 numbers, two bytes each
    assert found.kv_bytes_per_token == 2 * 34 * 4 * 256 * 2


def test_the_defaults_are_transformers() -> None:
    from transformers import Gemma3TextConfig

    from service.families.gemma3.files import TEXT_DEFAULTS

    given = TEXT_DEFAULTS["gemma3_text"]
    assert {name: getattr(Gemma3TextConfig(), name) for name in given} == given


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"config": CONFIG | {"image_token_index": 5}}, "image_token_index 5 and tokenizer.json gives"),
        ({"config": CONFIG | {"mm_tokens_per_image": 200}}, "mm_tokens_per_image 200; needed is the square"),
        ({"config": CONFIG | {"mm_tokens_per_image": 9}}, "mm_tokens_per_image 9; needed .* divisor of 64"),
        ({"config": CONFIG | {"mm_tokens_per_image": 64}}, "per_image 64 and the processor .* 256"),
        ({"config": CONFIG | {"vision_config": {**VISION, "image_size": 448}}}, "image_size 448"),
        ({"config": CONFIG | {"vision_config": {**VISION, "patch_size": 15}}}, "patch_size 15; needed is"),
        ({"config": CONFIG | {"vision_config": None}}, "has no vision_config"),
        ({"preprocessor_config": PROCESSOR | {"do_pan_and_scan": True}}, "do_pan_and_scan = True; only"),
        ({"preprocessor_config": PROCESSOR | {"resample": 3}}, "resample = 3; only 2"),
        ({"preprocessor_config": PROCESSOR | {"size": {"height": 896, "width": 448}}}, "'width': 448}, and"),
        ({"tokenizer": TOKENIZER | {"model": {"vocab": {"\n": 1}}}}, r"no token '\\n\\n'"),
        ({"tokenizer": TOKENIZER | {"added_tokens": []}}, "no token '<start_of_image>'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_disagree_are_refused(write: Write, replaced: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_geometry(write(**replaced))


def test_the_fingerprint_follows_what_decides_pixels_and_tokens(write: Write) -> None:
    def fingerprint(**replaced: Any) -> str:
        return load_geometry(write(**replaced)).facts.fingerprint

    one = fingerprint()
    assert fingerprint(tokenizer_config={"a": 1}) == one
    assert fingerprint(preprocessor_config=PROCESSOR | {"image_std": [0.4, 0.5, 0.5]}) != one
    assert fingerprint(config=CONFIG | {"vision_config": {**VISION, "num_hidden_layers": 2}}) != one

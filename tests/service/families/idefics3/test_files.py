"""What a checkpoint says of its geometry, as the hub has it, and files that disagree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.errors import ConfigurationError
from service.families import load_geometry
from service.families.idefics3.geometry import Idefics3Geometry
from tests.service.families.checkpoints import write_files
from tests.service.families.idefics3.hub import ADDED, CONFIG, PROCESSOR, TOKENIZER, VISION, WHOLE

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """The folder of SmolVLM2-500M's files, with some replaced."""

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


def test_what_the_hubs_files_say(write: Write) -> None:
    geometry = load_geometry(write())
    assert isinstance(geometry, Idefics3Geometry)
    assert (geometry.tile, geometry.most, geometry.patches, geometry.tokens) == (512, 4, 1024, 64)
    assert (geometry.image_token, geometry.fake_token, geometry.global_token) == (49190, 49189, 49152)
    assert (geometry.newline, geometry.newlines) == (198, 216)
    assert geometry.words[0][:2] == (49153, 49154) and geometry.words[3][3] == 49152 + 22
    facts = geometry.facts
    assert (facts.family, facts.architecture) == ("smolvlm", "SmolVLMForConditionalGeneration")
    assert facts.placeholders[:3] == ("<image>", "<fake_token_around_image>", "<global-img>")
    assert facts.placeholders[3:5] == ("<row_1_col_1>", "<row_1_col_2>") and len(facts.placeholders) == 19


def test_a_tokenizer_without_a_token_for_two_newlines(write: Write) -> None:
    one = load_geometry(write(tokenizer=TOKENIZER | {"model": {"vocab": {"\n": 7}}}))
    assert isinstance(one, Idefics3Geometry)
    assert (one.newline, one.newlines) == (7, None)


def test_pixels_beyond_the_last_patch_are_no_patches(write: Write) -> None:
    vision = VISION | {"image_size": 384, "patch_size": 14}
    sizes = {"size": {"longest_edge": 1536}, "max_image_size": {"longest_edge": 384}}
    folder = write(
        config=CONFIG | {"vision_config": vision, "scale_factor": 3},
        preprocessor_config=PROCESSOR | sizes,
        processor_config=WHOLE | {"image_seq_len": 81},
    )
    geometry = load_geometry(folder)
    assert geometry.max_tokens == 17 * 81 and geometry.largest.patches == 17 * 27**2


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"config": CONFIG | {"image_token_id": 5}}, "image_token_id 5 and tokenizer.json gives"),
        ({"config": CONFIG | {"scale_factor": 5}}, "scale_factor 5, which do not divide"),
        ({"config": CONFIG | {"scale_factor": 2}}, "image_seq_len 64; the tower makes 256"),
        ({"config": CONFIG | {"vision_config": {**VISION, "image_size": 384}}}, "images of 384 pixels"),
        ({"preprocessor_config": PROCESSOR | {"do_image_splitting": False}}, "do_image_splitting = False"),
        ({"preprocessor_config": PROCESSOR | {"resample": 3}}, "resample = 3; only 1"),
        ({"preprocessor_config": PROCESSOR | {"size": {"longest_edge": 2000}}}, "in whole tiles of 512"),
        ({"preprocessor_config": PROCESSOR | {"size": {"longest_edge": 4608}}}, "at most 10 and 4096"),
        ({"preprocessor_config": PROCESSOR | {"size": {"height": 2048}}}, "{'height': 2048}; needed is"),
        ({"preprocessor_config": PROCESSOR | {"size": {"longest_edge": 4096}}}, "no token '<row_1_col_7>'"),
        ({"tokenizer": TOKENIZER | {"added_tokens": ADDED[:-1]}}, "no token '<image>'"),
        ({"tokenizer": TOKENIZER | {"model": {"vocab": {}}}}, "no token for a newline"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_disagree_are_refused(write: Write, replaced: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_geometry(write(**replaced))

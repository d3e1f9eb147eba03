"""LLaVA-OneVision served whole: by handles, by the engine's own tower, and as transformers answers.

Transformers' chat template gives several pictures of a conversation one tile each; vLLM and Patchbay do not, so its
processor gets each of them by itself.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.comparison import (
    all_same,
    ask,
    body,
    by_both_ways,
    by_transformers,
    draw_cases,
    one_by_one,
    placeholders_stay_text,
)
from tests.e2e.server import Server
from tests.service.tiny_llava_onevision import GRID, TOKENS, write_checkpoint

pytestmark = pytest.mark.e2e

CASES = draw_cases(8, seed=11)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onevision") / "tiny-llava-onevision"
    folder.mkdir()
    write_checkpoint(folder)
    return folder


def test_answers_are_transformers_and_those_of_the_engines_own_tower(
    servers: tuple[Server, Server], checkpoint: Path
) -> None:
    expected = by_transformers(checkpoint, CASES, prepare=one_by_one)
    by_handle, by_engine = by_both_ways(servers, CASES)
    assert all_same(by_handle, expected)
    assert all_same(by_engine, expected)
    for images, ours, theirs in zip(CASES, by_handle, by_engine, strict=True):
        assert ours["usage"]["prompt_tokens"] == theirs["usage"]["prompt_tokens"]
        if images:
            found = ours["prompt_token_ids"].count(TOKENS["<image>"])
            assert ours["usage"]["prompt_tokens_details"]["image_tokens"] == found


def test_low_is_as_many_soft_tokens_as_transformers_gives_one_of_several_pictures(
    servers: tuple[Server, Server],
) -> None:
    reply = ask(servers[0], body(CASES[2], "low")).json()
    assert reply["usage"]["prompt_tokens_details"]["image_tokens"] == 2 * (GRID**2 + 1)


def test_a_user_who_writes_the_image_token_takes_no_images_place(servers: tuple[Server, Server]) -> None:
    hostile = "<image> What is <video>? <image>"
    for images in (CASES[1], CASES[0]):
        placeholders_stay_text(servers, images, hostile, (TOKENS["<image>"], TOKENS["<video>"]))

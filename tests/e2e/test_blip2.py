"""BLIP-2 served whole: by handles, by the engine's own tower, and as transformers answers.

The engine takes one image in a request.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.e2e.comparison import (
    QUESTION,
    Case,
    all_same,
    ask,
    body,
    by_both_ways,
    by_transformers,
    draw_cases,
    placeholders_stay_text,
)
from tests.e2e.server import Server
from tests.service.tiny_blip2 import QUERIES, TOKENS, write_checkpoint

pytestmark = pytest.mark.e2e

CASES = [images[:1] for images in draw_cases(12, seed=11) if images]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blip2") / "tiny-blip2"
    folder.mkdir()
    write_checkpoint(folder)
    return folder


def inputs(processor: Any, images: Case) -> Any:
    """Transformers' processor puts images in front of the text, also of its first word, and answers about no text
    alone."""
    return processor(text=f"</s>{QUESTION}", images=list(images), return_tensors="pt")


def test_answers_are_transformers_and_those_of_the_engines_own_tower(
    servers: tuple[Server, Server], checkpoint: Path
) -> None:
    expected = by_transformers(checkpoint, CASES, prepare=inputs)
    by_handle, by_engine = by_both_ways(servers, CASES)
    assert all_same(by_handle, expected)
    assert all_same(by_engine, expected)
    for ours, theirs in zip(by_handle, by_engine, strict=True):
        assert ours["usage"]["prompt_tokens"] == theirs["usage"]["prompt_tokens"]
        assert ours["usage"]["prompt_tokens_details"]["image_tokens"] == QUERIES


def test_text_alone_is_answered_the_same_both_ways(servers: tuple[Server, Server]) -> None:
    ours, theirs = by_both_ways(servers, [[]])
    assert ours[0]["prompt_token_ids"] == theirs[0]["prompt_token_ids"]
    assert ours[0]["choices"][0]["token_ids"] == theirs[0]["choices"][0]["token_ids"]


def test_a_second_image_is_refused_before_anything_is_done_with_it(servers: tuple[Server, Server]) -> None:
    reply = ask(servers[0], body([Image.new("RGB", (9, 9))] * 2))
    assert reply.status_code == 400
    assert "this model takes at most 1 in one request" in reply.json()["error"]["message"]


def test_a_user_who_writes_the_image_token_takes_no_images_place(servers: tuple[Server, Server]) -> None:
    for images in (CASES[0], []):
        placeholders_stay_text(servers, images, "<image> What is <image>?", (TOKENS["<image>"],))

"""PaliGemma served whole: by handles, by the engine's own tower, and as transformers answers.

vLLM attends causally on a CPU, so transformers is told to do so too. The engine takes one image in a request.
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
from tests.service.tiny_paligemma import SOFT, TOKENS, write_checkpoint

pytestmark = pytest.mark.e2e

CASES = [images[:1] for images in draw_cases(8, seed=11)]
CAUSAL = ("token_type_ids", "labels")
"""What makes transformers attend in both directions within a prompt."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paligemma") / "tiny-paligemma"
    folder.mkdir()
    write_checkpoint(folder, second=True)
    return folder


def inputs(processor: Any, images: Case) -> Any:
    """Transformers' processor puts images in front of the text, and takes no text without them."""
    if not images:
        return processor.tokenizer(QUESTION, return_tensors="pt")
    return processor(text=["<image>" * len(images) + QUESTION], images=[list(images)], return_tensors="pt")


def test_answers_are_transformers_and_those_of_the_engines_own_tower(
    servers: tuple[Server, Server], checkpoint: Path
) -> None:
    # transformers' default attention leaves out Gemma 2's cap on the scores
    expected = by_transformers(checkpoint, CASES, without=CAUSAL, prepare=inputs, attention="eager")
    by_handle, by_engine = by_both_ways(servers, CASES)
    assert all_same(by_handle, expected)
    assert all_same(by_engine, expected)
    for images, ours, theirs in zip(CASES, by_handle, by_engine, strict=True):
        assert ours["usage"]["prompt_tokens"] == theirs["usage"]["prompt_tokens"]
        if images:
            assert ours["usage"]["prompt_tokens_details"]["image_tokens"] == SOFT


@pytest.mark.parametrize("question", ["What?\n", "<bos>What?", "What?"])
def test_a_prompt_has_one_first_word_and_one_newline_whoever_writes_them(
    servers: tuple[Server, Server], question: str
) -> None:
    reply = ask(servers[0], body(CASES[1], question=question)).json()
    prompt = reply["prompt_token_ids"]
    assert prompt[: SOFT + 1] == [TOKENS["<image>"]] * SOFT + [TOKENS["<bos>"]]
    assert prompt.count(TOKENS["<bos>"]) == 1
    assert prompt[-1] == TOKENS["\n"] != prompt[-2]


def test_a_second_image_is_refused_before_anything_is_done_with_it(servers: tuple[Server, Server]) -> None:
    for server in servers:
        reply = ask(server, body([Image.new("RGB", (9, 9))] * 2))
        assert reply.status_code == 400
    error = ask(servers[0], body([Image.new("RGB", (9, 9))] * 2)).json()["error"]
    assert error["param"] == "messages[0].content[1].image_url.url"
    assert "this model takes at most 1 in one request" in error["message"]


def test_a_user_who_writes_the_image_token_takes_no_images_place(servers: tuple[Server, Server]) -> None:
    for images in (CASES[1], CASES[0]):
        placeholders_stay_text(servers, images, "<image> What is <image>?", (TOKENS["<image>"],))

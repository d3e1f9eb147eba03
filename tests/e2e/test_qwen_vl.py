"""Qwen2.5-VL served whole: pictures of any size through our encoder, and through the engine's own tower."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from benchmarks.servers import PATCHBAY
from demo.cases import data_url
from tests.e2e.server import chat_body, environment, serving
from tests.service.tiny_qwen_vl import CELL, MIN_PIXELS, TEXT, TOKENS, write_checkpoint

pytestmark = pytest.mark.e2e

REQUESTS, AT_ONCE = 24, 6
LOW_PIXELS = 512 * 512
MOST = 600
"""Soft tokens of an image, by the operator's word, so that `low` looks at less."""
MAX_PIXELS = MOST * CELL**2
LIMIT = "--max-image-tokens", str(MOST)
LENGTH = 12


@dataclass(frozen=True)
class Case:
    pictures: tuple[Image.Image, ...]
    details: tuple[str, ...]

    def body(self) -> dict[str, Any]:
        parts = [
            {"type": "image_url", "image_url": {"url": data_url(picture, "PNG"), "detail": detail}}
            for picture, detail in zip(self.pictures, self.details, strict=True)
        ]
        return chat_body(
            *parts,
            question="What are they?",
            min_tokens=LENGTH,
            max_tokens=LENGTH,
            logprobs=True,
            return_token_ids=True,
        )


def draw_cases() -> list[Case]:
    """One to three pictures each; `low` for all or none of them, because pass-through cannot mix it."""
    rng = np.random.default_rng(44)  # whose answers have no token that is nearly as likely as another

    def picture() -> Image.Image:
        colours = rng.integers(0, 256, (5, 7, 3), np.uint8)
        size = int(rng.integers(20, 1000)), int(rng.integers(20, 1000))
        return Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC)

    cases = []
    for number in range(REQUESTS):
        pictures = tuple(picture() for _ in range(rng.integers(1, 4)))
        levels = ("low",) if number % 3 == 0 else ("high", "auto")
        cases.append(Case(pictures, tuple(levels[rng.integers(len(levels))] for _ in pictures)))
    return cases


CASES = draw_cases()


async def answers(url: str) -> list[dict[str, Any]]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask(client: httpx.AsyncClient, case: Case) -> dict[str, Any]:
        async with gate:
            reply = await client.post("/v1/chat/completions", json=case.body())
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    async with httpx.AsyncClient(base_url=url, timeout=300) as client:
        return list(await asyncio.gather(*(ask(client, case) for case in CASES)))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen") / "tiny-qwen-vl"
    folder.mkdir()
    write_checkpoint(folder, tokenizer=True, max_pixels=2 * MAX_PIXELS)
    return folder


@pytest.fixture(scope="module")
def by_handle(checkpoint: Path) -> list[dict[str, Any]]:
    with serving(checkpoint.parent / "handles.log", str(checkpoint), *LIMIT) as server:
        return asyncio.run(answers(server.url))


@pytest.fixture(scope="module")
def passed_through(checkpoint: Path) -> list[dict[str, Any]]:
    log = checkpoint.parent / "passthrough.log"
    with serving(log, str(checkpoint), *LIMIT, "--images", "passthrough") as server:
        return asyncio.run(answers(server.url))


def told(answer: dict[str, Any]) -> tuple[list[int], list[int], list[float]]:
    """Prompt, tokens, and their log probabilities."""
    (choice,) = answer["choices"]
    logprobs = [token["logprob"] for token in choice["logprobs"]["content"]]
    return answer["prompt_token_ids"], choice["token_ids"], logprobs


def test_our_encoder_answers_as_the_engines_own_tower(
    by_handle: list[dict[str, Any]], passed_through: list[dict[str, Any]]
) -> None:
    for ours, theirs in zip(by_handle, passed_through, strict=True):
        prompt, tokens, logprobs = told(theirs)
        assert told(ours) == (prompt, tokens, pytest.approx(logprobs, abs=2e-3))
        assert ours["usage"]["prompt_tokens_details"] == theirs["usage"]["prompt_tokens_details"]


def test_two_ranks_that_share_one_head_of_keys_and_values_answer_as_one(
    checkpoint: Path, by_handle: list[dict[str, Any]]
) -> None:
    """With positions in three axes, which each rank computes from the images' grids."""
    assert TEXT["num_key_value_heads"] == 1
    log = checkpoint.parent / "two-ranks.log"
    with serving(log, str(checkpoint), *LIMIT, "--tensor-parallel-size", "2") as server:
        divided = asyncio.run(answers(server.url))
    for one, two in zip(by_handle, divided, strict=True):
        prompt, tokens, logprobs = told(one)
        assert told(two) == (prompt, tokens, pytest.approx(logprobs, abs=2e-3))


def soft_tokens(picture: Image.Image, detail: str) -> int:
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    most = LOW_PIXELS if detail == "low" else MAX_PIXELS
    height, width = smart_resize(picture.height, picture.width, CELL, MIN_PIXELS, most)
    return height * width // CELL**2


@pytest.mark.parametrize("way", ["by_handle", "passed_through"])
def test_usage_counts_what_stands_in_the_prompt(way: str, request: pytest.FixtureRequest) -> None:
    levels = set()
    for case, answer in zip(CASES, request.getfixturevalue(way), strict=True):
        expected = sum(map(soft_tokens, case.pictures, case.details))
        usage = answer["usage"]
        assert answer["prompt_token_ids"].count(TOKENS["<|image_pad|>"]) == expected
        assert usage["prompt_tokens"] == len(answer["prompt_token_ids"])
        assert usage["prompt_tokens_details"]["image_tokens"] == expected
        for asked, applied in zip(case.details, usage["prompt_tokens_details"]["image_detail"], strict=True):
            assert asked in ("auto", applied)
            levels.add((asked, applied))
    assert levels == {("low", "low"), ("high", "high"), ("auto", "low"), ("auto", "high")}


def test_check_tells_what_will_run(checkpoint: Path) -> None:
    said = subprocess.run(
        [*PATCHBAY, "check", str(checkpoint), *LIMIT],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    ).stdout
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert "name tiny-qwen-vl" in lines
    assert "family qwen_vl (Qwen2_5_VLForConditionalGeneration), float32" in lines
    assert "up to 600 soft tokens each, no side shorter than 1 px or longer than 200 times the other" in lines
    assert "context 4096 tokens; the largest image takes 600" in lines
    assert "patch_embed cpu" in lines

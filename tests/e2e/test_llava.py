"""LLaVA-1.5 and LLaVA-NeXT served whole: by handles, by the engine's own tower, and as transformers answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from demo.cases import data_url
from tests.e2e.server import Server, chat_body, serving
from tests.service.tiny_llava import GRID, TOKENS, write_checkpoint

pytestmark = pytest.mark.e2e

REQUESTS, AT_ONCE = 24, 6
LENGTH = 12
QUESTION = "What are they?"
TOLERANCE = 2e-3
"""Of a log probability: what the order of sums may change."""


@dataclass(frozen=True)
class Told:
    prompt: list[int]
    tokens: list[int]
    logprobs: list[float]


def draw_cases() -> list[list[Image.Image]]:
    """None to three pictures each, of all sizes and shapes."""
    rng = np.random.default_rng(11)  # whose answers have no token that is nearly as likely as another

    def picture() -> Image.Image:
        colours = rng.integers(0, 256, (5, 7, 3), np.uint8)
        size = int(rng.integers(5, 700)), int(rng.integers(5, 700))
        return Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC)

    return [[picture() for _ in range(number % 4)] for number in range(REQUESTS)]


CASES = draw_cases()


@pytest.fixture(scope="module", params=[False, True], ids=["llava", "llava_next"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llava") / "tiny-llava"
    folder.mkdir()
    write_checkpoint(folder, anyres=request.param)
    return folder


@pytest.fixture(scope="module")
def handles(checkpoint: Path) -> Iterator[Server]:
    with serving(checkpoint.parent / "handles.log", str(checkpoint)) as server:
        yield server


@pytest.fixture(scope="module")
def passthrough(checkpoint: Path) -> Iterator[Server]:
    log = checkpoint.parent / "passthrough.log"
    with serving(log, str(checkpoint), "--images", "passthrough") as server:
        yield server


@pytest.fixture(scope="module")
def expected(checkpoint: Path) -> list[Told]:
    return by_transformers(checkpoint)


@torch.inference_mode()
def by_transformers(checkpoint: Path) -> list[Told]:
    processor = AutoProcessor.from_pretrained(checkpoint)
    model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32).eval()
    answers = []
    for images in CASES:
        content = [
            *({"type": "image", "image": image} for image in images),
            {"type": "text", "text": QUESTION},
        ]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        made = model.generate(
            **inputs,
            max_new_tokens=LENGTH,
            min_new_tokens=LENGTH,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        prompt = inputs["input_ids"][0].tolist()
        tokens = made.sequences[0, len(prompt) :].tolist()
        logprobs = torch.stack(made.logits)[:, 0].log_softmax(-1)  # [tokens, vocabulary]
        answers.append(Told(prompt, tokens, logprobs[range(len(tokens)), tokens].tolist()))
    return answers


def body(images: list[Image.Image], detail: str = "high", **fields: Any) -> dict[str, Any]:
    parts = [
        {"type": "image_url", "image_url": {"url": data_url(image, "PNG"), "detail": detail}}
        for image in images
    ]
    lengths = {"min_tokens": LENGTH, "max_tokens": LENGTH}
    return chat_body(*parts, question=QUESTION, **lengths, logprobs=True, return_token_ids=True, **fields)


async def answers(url: str) -> list[dict[str, Any]]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask(client: httpx.AsyncClient, images: list[Image.Image]) -> dict[str, Any]:
        async with gate:
            reply = await client.post("/v1/chat/completions", json=body(images))
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    async with httpx.AsyncClient(base_url=url, timeout=300) as client:
        return list(await asyncio.gather(*(ask(client, images) for images in CASES)))


def told(answer: dict[str, Any]) -> Told:
    (choice,) = answer["choices"]
    logprobs = [token["logprob"] for token in choice["logprobs"]["content"]]
    return Told(answer["prompt_token_ids"], choice["token_ids"], logprobs)


def same(ours: Told, theirs: Told) -> bool:
    return (ours.prompt, ours.tokens) == (theirs.prompt, theirs.tokens) and ours.logprobs == pytest.approx(
        theirs.logprobs, abs=TOLERANCE
    )


def test_answers_are_transformers_and_those_of_the_engines_own_tower(
    handles: Server, passthrough: Server, expected: list[Told]
) -> None:
    by_handle = asyncio.run(answers(handles.url))
    by_engine = asyncio.run(answers(passthrough.url))
    assert [same(told(ours), theirs) for ours, theirs in zip(by_handle, expected, strict=True)] == [
        True
    ] * REQUESTS
    assert [same(told(ours), theirs) for ours, theirs in zip(by_engine, expected, strict=True)] == [
        True
    ] * REQUESTS
    for images, answer, passed in zip(CASES, by_handle, by_engine, strict=True):
        usage = answer["usage"]
        assert usage == passed["usage"]
        if images:
            found = answer["prompt_token_ids"].count(TOKENS["<image>"])
            assert usage["prompt_tokens_details"]["image_tokens"] == found


def test_low_costs_no_more_than_a_tile_and_a_newline(handles: Server) -> None:
    reply = httpx.post(f"{handles.url}/v1/chat/completions", json=body(CASES[1], "low"), timeout=60).json()
    details = reply["usage"]["prompt_tokens_details"]
    assert details["image_detail"] == ["low"] and details["image_tokens"] <= GRID**2 + 1
    assert reply["prompt_token_ids"].count(TOKENS["<image>"]) == details["image_tokens"]


def test_a_user_who_writes_the_image_token_takes_no_images_place(handles: Server) -> None:
    clean = body(CASES[1])
    hostile = body(CASES[1])
    hostile["messages"][0]["content"][-1]["text"] = "<image> What is <image>?"
    replies = [
        httpx.post(f"{handles.url}/v1/chat/completions", json=each, timeout=60) for each in (clean, hostile)
    ]
    counts = [reply.json()["prompt_token_ids"].count(TOKENS["<image>"]) for reply in replies]
    assert [reply.status_code for reply in replies] == [200, 200] and counts[0] == counts[1]


def test_a_narrow_strip_is_refused_with_its_path(handles: Server) -> None:
    reply = httpx.post(
        f"{handles.url}/v1/chat/completions", json=body([Image.new("RGB", (900, 4))]), timeout=60
    )
    error = reply.json()["error"]
    assert reply.status_code == 400 and error["param"] == "messages[0].content[0].image_url.url"
    assert "at most 200 times the shorter" in error["message"]

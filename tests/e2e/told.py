"""What a tiny checkpoint answers: by handles, by the engine's own tower, and by transformers.

One engine serves both ways: it has the plugin and its own tower, and in front of it are two Patchbays.
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from benchmarks.processes import free_port
from tests.e2e.server import Server, chat_body, serving
from tests.e2e.test_external_engine import command, running

LENGTH = 12
AT_ONCE = 6
QUESTION = "What are they?"
TOLERANCE = 2e-3
"""Of a log probability: what the order of sums may change."""
Case = list[Image.Image]


@dataclass(frozen=True)
class Told:
    prompt: list[int]
    tokens: list[int]
    logprobs: list[float]

    def same(self, other: Told) -> bool:
        return (self.prompt, self.tokens) == (other.prompt, other.tokens) and self.logprobs == pytest.approx(
            other.logprobs, abs=TOLERANCE
        )


@dataclass(frozen=True)
class Both:
    """Two ways to one engine."""

    handles: Server
    passthrough: Server


@contextmanager
def both(checkpoint: Path, folder: Path) -> Iterator[Both]:
    port, url = free_port(), f"http://127.0.0.1:{free_port()}"
    words = command(url, "--port", str(port), "--images", "handles", str(checkpoint))
    limit = words.index("--limit-mm-per-prompt")  # to 0: the engine would not load its tower
    words = [*words[:limit], *words[limit + 2 :], "--trust-request-mm-kwargs"]
    flags = (str(checkpoint), "--images")
    with (
        running(words, folder / "engine.log"),
        serving(folder / "handles.log", *flags, "handles", port=port, engine_url=url) as handles,
        serving(folder / "passthrough.log", *flags, "passthrough", engine_url=url) as passthrough,
    ):
        yield Both(handles, passthrough)


def draw_cases(requests: int, seed: int, most: int = 4) -> list[Case]:
    """None to `most` - 1 pictures each, of all sizes and shapes."""
    rng = np.random.default_rng(seed)

    def picture() -> Image.Image:
        colours = rng.integers(0, 256, (5, 7, 3), np.uint8)
        size = int(rng.integers(5, 700)), int(rng.integers(5, 700))
        return Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC)

    return [[picture() for _ in range(number % most)] for number in range(requests)]


@torch.inference_mode()
def by_transformers(
    checkpoint: Path, cases: Sequence[Case], *, without: Sequence[str] = (), flat: bool = False
) -> list[Told]:
    """Greedy answers; `without`: inputs of the model that are left out. `flat`: the processor gets the images as a list
    of their own, and not in the conversation."""
    processor = AutoProcessor.from_pretrained(checkpoint)
    model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32).eval()
    answers = []
    for images in cases:
        content = [
            *({"type": "image", "image": image} for image in images),
            {"type": "text", "text": QUESTION},
        ]
        conversation = [{"role": "user", "content": content}]
        if flat:
            text = processor.apply_chat_template(conversation, add_generation_prompt=True)
            inputs = processor(text=text, images=images or None, return_tensors="pt")
        else:
            inputs = processor.apply_chat_template(
                conversation,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
        for name in without:
            inputs.pop(name, None)
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


def url_of(image: Image.Image, *, again: bool) -> str:
    """A data URL; `again`: of the same pixels in other bytes, so that no cache knows them."""
    written = io.BytesIO()
    image.save(written, "PNG", compress_level=1 if again else 6)
    return f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}"


def body(
    images: Case, detail: str = "high", question: str = QUESTION, *, again: bool = False, **fields: Any
) -> dict[str, Any]:
    parts = [
        {"type": "image_url", "image_url": {"url": url_of(image, again=again), "detail": detail}}
        for image in images
    ]
    lengths = {"min_tokens": LENGTH, "max_tokens": LENGTH}
    return chat_body(*parts, question=question, **lengths, logprobs=True, return_token_ids=True, **fields)


def ask(server: Server, images: Case, detail: str = "high", **fields: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/chat/completions", json=body(images, detail, **fields), timeout=300)


async def answers(url: str, cases: Sequence[Case], *, again: bool = False) -> list[dict[str, Any]]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(client: httpx.AsyncClient, images: Case) -> dict[str, Any]:
        async with gate:
            reply = await client.post("/v1/chat/completions", json=body(images, again=again))
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    async with httpx.AsyncClient(base_url=url, timeout=300) as client:
        return list(await asyncio.gather(*(one(client, images) for images in cases)))


def told(answer: dict[str, Any]) -> Told:
    (choice,) = answer["choices"]
    logprobs = [token["logprob"] for token in choice["logprobs"]["content"]]
    return Told(answer["prompt_token_ids"], choice["token_ids"], logprobs)


def by_both(served: Both, cases: Sequence[Case]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Answers by handle and by the engine's own tower, each with nothing of an image cached. Images stand at the
    beginning of the prompt, so that its first block holds some of one."""
    by_handle = asyncio.run(answers(served.handles.url, cases))
    by_engine = asyncio.run(answers(served.passthrough.url, cases, again=True))
    for images, *replies in zip(cases, by_handle, by_engine, strict=True):
        cached = [reply["usage"]["prompt_tokens_details"]["cached_tokens"] for reply in replies]
        assert not images or cached == [0, 0]
    return by_handle, by_engine


def all_same(replies: Sequence[dict[str, Any]], expected: Sequence[Told]) -> bool:
    return all(told(ours).same(theirs) for ours, theirs in zip(replies, expected, strict=True))


def placeholder_stays_text(served: Both, images: Case, question: str, token: int) -> None:
    """`question` contains the family's own words, and the prompt has no more soft tokens for it."""
    replies = [ask(served.handles, images), ask(served.handles, images, question=question)]
    assert [reply.status_code for reply in replies] == [200, 200], replies[1].text
    counts = [reply.json()["prompt_token_ids"].count(token) for reply in replies]
    assert counts[0] == counts[1]

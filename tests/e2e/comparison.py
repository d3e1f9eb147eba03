"""Answers about pictures, by a Patchbay and by transformers' own `generate`, to be held against each other."""

from __future__ import annotations

import asyncio
import base64
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from benchmarks import processes
from benchmarks.processes import free_port
from service.app.prepare import prepare
from service.domain import Detail
from service.engine.launcher import launch
from service.families import load_geometry
from service.settings import load
from tests.e2e.server import KV_CACHE, Server, chat_body, environment, serving

LENGTH = 12
QUESTION = "What are they?"
TOLERANCE = 2e-3
"""Of a log probability in float32: what the order of sums may change."""
BFLOAT16_TOLERANCE = 0.1
"""The same where the engine computes in bfloat16 and transformers in float32, with the weights of a tiny checkpoint."""

Case = Sequence[Image.Image]
"""The pictures of one request."""
Prepare = Callable[[Any, Case], Any]
"""Transformers' processor and the pictures of a request → the model's inputs."""


@dataclass(frozen=True)
class Told:
    prompt: list[int]
    tokens: list[int]
    logprobs: list[float]
    leads: list[float] = field(default_factory=list)
    """How far each token's log probability is above the next likeliest token's; told by transformers alone."""

    def same(self, other: Told, tolerance: float = TOLERANCE) -> bool:
        return (self.prompt, self.tokens) == (other.prompt, other.tokens) and self.logprobs == pytest.approx(
            other.logprobs, abs=tolerance
        )

    def parting(self, other: Told, tolerance: float = TOLERANCE) -> float:
        """How far apart the log probabilities are where the tokens first differ: of a near tie little, else infinite.

        Raises AssertionError when the prompts differ, or the log probabilities before that.
        """
        assert self.prompt == other.prompt
        pairs = zip(self.tokens, other.tokens, strict=True)
        first = next(number for number, (ours, theirs) in enumerate(pairs) if ours != theirs)
        assert self.logprobs[:first] == pytest.approx(other.logprobs[:first], abs=tolerance)
        return abs(self.logprobs[first] - other.logprobs[first])


def draw_cases(requests: int, seed: int, longest: int = 700) -> list[list[Image.Image]]:
    """None to three pictures each, of all sizes and shapes."""
    rng = np.random.default_rng(seed)

    def picture() -> Image.Image:
        colours = rng.integers(0, 256, (5, 7, 3), np.uint8)
        size = int(rng.integers(5, longest)), int(rng.integers(5, longest))
        return Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC)

    return [[picture() for _ in range(number % 4)] for number in range(requests)]


def messages(images: Case) -> list[dict[str, Any]]:
    """The conversation of a request, as transformers takes it."""
    content = [
        *({"type": "image", "image": image} for image in images),
        {"type": "text", "text": QUESTION},
    ]
    return [{"role": "user", "content": content}]


def by_template(processor: Any, images: Case) -> Any:
    """What transformers' chat template makes of a request."""
    return processor.apply_chat_template(
        messages(images),
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )


def one_by_one(processor: Any, images: Case) -> Any:
    """The same where the processor is told nothing of a conversation, and treats each picture as if it were alone."""
    prompt = processor.apply_chat_template(messages(images), add_generation_prompt=True)
    return processor(text=[prompt], images=list(images) or None, return_tensors="pt")


@torch.inference_mode()
def by_transformers(
    checkpoint: Path,
    cases: Sequence[Case],
    *,
    without: Sequence[str] = (),
    prepare: Prepare = by_template,
    attention: str | None = None,
    kind: Any = AutoModelForImageTextToText,
    change: Callable[[Any], object] | None = None,
    **options: Any,
) -> list[Told]:
    """Greedy answers of `LENGTH` tokens, in float32. `prepare` makes the model's inputs; `without`: what of them
    `generate` is not to get; `attention`: transformers' implementation; `kind`: its class, if the files name another;
    `change` is done to the model first; `options` go to `generate`."""
    processor = AutoProcessor.from_pretrained(checkpoint)
    model = kind.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation=attention).eval()
    if change is not None:
        change(model)
    answers = []
    for images in cases:
        with warnings.catch_warnings():
            # GLM's processor reads tensors in a way that numpy will not have for long
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            inputs = prepare(processor, images)
        for name in without:
            inputs.pop(name, None)
        made = model.generate(
            **inputs,
            max_new_tokens=LENGTH,
            min_new_tokens=LENGTH,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
            **options,
        )
        prompt = inputs["input_ids"][0].tolist()
        tokens = made.sequences[0, len(prompt) :].tolist()
        logprobs = torch.stack(made.logits)[:, 0].log_softmax(-1)  # [tokens, vocabulary]
        first, second = logprobs.topk(2).values.T
        chosen = logprobs[range(len(tokens)), tokens].tolist()
        answers.append(Told(prompt, tokens, chosen, (first - second).tolist()))
    return answers


def body(
    images: Case, detail: str = "high", *, question: str = QUESTION, level: int = 6, **fields: Any
) -> dict[str, Any]:
    """A greedy request. With another `level` of compression the same pixels are files of which no cache knows."""
    parts = [
        {"type": "image_url", "image_url": {"url": png(image, level), "detail": detail}} for image in images
    ]
    lengths = {"min_tokens": LENGTH, "max_tokens": LENGTH}
    return chat_body(*parts, question=question, **lengths, logprobs=True, return_token_ids=True, **fields)


def png(image: Image.Image, level: int) -> str:
    """As a `data:` URL."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=level)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def ask(server: Server, asked: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/chat/completions", json=asked, timeout=120)


def gather(server: Server, bodies: Sequence[dict[str, Any]], at_once: int) -> list[dict[str, Any]]:
    """The answers in order, asked for by `at_once` clients."""

    async def all_of_them() -> list[dict[str, Any]]:
        gate = asyncio.Semaphore(at_once)

        async def ask_one(client: httpx.AsyncClient, asked: dict[str, Any]) -> dict[str, Any]:
            async with gate:
                reply = await client.post("/v1/chat/completions", json=asked)
            assert reply.status_code == 200, reply.text
            return dict(reply.json())

        async with httpx.AsyncClient(base_url=server.url, timeout=300) as client:
            return list(await asyncio.gather(*(ask_one(client, asked) for asked in bodies)))

    return asyncio.run(all_of_them())


def told(answer: dict[str, Any]) -> Told:
    (choice,) = answer["choices"]
    logprobs = [token["logprob"] for token in choice["logprobs"]["content"]]
    return Told(answer["prompt_token_ids"], choice["token_ids"], logprobs)


@contextmanager
def both_ways(folder: Path, checkpoint: Path, **settings: Any) -> Iterator[tuple[Server, Server]]:
    """One engine with its own tower, behind a Patchbay that encodes images and one that passes them on.

    The same file has one name in both: for answers that share nothing ask with another `level`.
    """
    port, engine_port = free_port(), free_port()
    url = f"http://127.0.0.1:{engine_port}"
    asked = load(
        {"model": str(checkpoint), "images": "handles", "port": port, "engine_url": url, **settings}, {}
    )
    flags = ("--trust-request-mm-kwargs", "--no-enable-prefix-caching")
    spec = replace(prepare(asked).engine, tower="present", extra_args=(*flags, *KV_CACHE))
    made = launch(spec, environment())
    options = [
        word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))
    ]
    with (
        processes.serving(made.argv, made.environment, folder / "engine.log", f"{url}/health"),
        serving(
            *(folder / "handles.log", str(checkpoint), "--images", "handles", *options),
            port=port,
            engine_url=url,
        ) as handles,
        serving(
            *(folder / "passthrough.log", str(checkpoint), "--images", "passthrough", *options),
            engine_url=url,
        ) as passthrough,
    ):
        yield handles, passthrough


def by_both_ways(
    servers: tuple[Server, Server], cases: Sequence[Case], at_once: int = 6
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Answers by handle and by the engine's own tower, neither with anything of an image cached."""
    by_handle, by_engine = (
        gather(server, [body(images, level=level) for images in cases], at_once)
        for level, server in enumerate(servers)
    )
    for images, *replies in zip(cases, by_handle, by_engine, strict=True):
        cached = [reply["usage"]["prompt_tokens_details"]["cached_tokens"] for reply in replies]
        assert not images or cached == [0, 0]
    return by_handle, by_engine


def all_same(
    replies: Sequence[dict[str, Any]], expected: Sequence[Told], tolerance: float = TOLERANCE
) -> bool:
    return all(told(ours).same(theirs, tolerance) for ours, theirs in zip(replies, expected, strict=True))


def answers_agree(
    servers: tuple[Server, Server],
    checkpoint: Path,
    cases: Sequence[Case],
    token: int,
    tolerance: float = TOLERANCE,
    **asked: Any,
) -> None:
    """By handle, by the engine's own tower and by transformers, as it is `asked`; `token` is the one that stands for a
    soft token."""
    expected = by_transformers(checkpoint, cases, **asked)
    by_handle, by_engine = by_both_ways(servers, cases)
    assert all_same(by_handle, expected, tolerance)
    assert all_same(by_engine, expected, tolerance)
    for ours, passed, images in zip(by_handle, by_engine, cases, strict=True):
        assert ours["usage"] == passed["usage"]
        if images:
            found = ours["prompt_token_ids"].count(token)
            assert ours["usage"]["prompt_tokens_details"]["image_tokens"] == found


def low_looks_at_less(
    servers: tuple[Server, Server], checkpoint: Path, size: tuple[int, int], tolerance: float = TOLERANCE
) -> None:
    """Of a picture of `size`, and by handle at the same as in the engine's own tower."""
    image = Image.effect_noise(size, 99).convert("RGB")
    geometry = load_geometry(checkpoint)
    expected = geometry.plan(*size, Detail.LOW)
    assert expected.tokens < geometry.plan(*size, Detail.HIGH).tokens
    by_handle, by_engine = (
        ask(server, body([image], "low", level=level)).json() for level, server in enumerate(servers)
    )
    assert told(by_handle).same(told(by_engine), tolerance)
    details = by_handle["usage"]["prompt_tokens_details"]
    assert (details["image_detail"], details["image_tokens"]) == (["low"], expected.tokens)


def placeholders_stay_text(
    servers: Sequence[Server], images: Case, question: str, tokens: Sequence[int]
) -> None:
    """`question` contains the family's own words, and no prompt has more of their `tokens` for it."""
    for server in servers:
        replies = [ask(server, body(images)), ask(server, body(images, question=question))]
        assert [reply.status_code for reply in replies] == [200, 200], replies[1].text
        plain, hostile = (reply.json()["prompt_token_ids"] for reply in replies)
        assert [plain.count(token) for token in tokens] == [hostile.count(token) for token in tokens]

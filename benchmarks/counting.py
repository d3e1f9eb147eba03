"""Is a count without an answer the engine's own, and what does it cost the gateway?

    patchbay serve &
    python -m benchmarks.counting --url http://127.0.0.1:8000 --n 200

Draws n requests of none to four images of random sizes and details and asks for each twice: `/v1/tokenize`, and an
answer of one token, whose `usage` must say the same of the prompt and of each image. Then times the gateway: from the
bytes of a request with one image as a data URL to the request for the engine, and from the engine's answer to the
bytes of the count; the engine itself is a stand-in that answers at once. A calibration, BLAKE3 over a fixed buffer,
tells what the machine is like meanwhile. No times are reported, and the exit status is 1, where a count is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx
from blake3 import blake3
from PIL import Image
from prometheus_client import CollectorRegistry

from demo.cases import data_url
from service.api.chat.schema import parse_chat
from service.api.limits import RequestLimits
from service.api.tokenize.report import report
from service.domain import Detail, EngineReply
from service.errors import EngineUnavailable
from service.families import load_geometry
from service.ingest import Fetcher, FetchLimits, ImageLimits, Ingest, URLPolicy
from service.pipeline.chat import Pipeline
from service.pipeline.handover import Measures
from service.pipeline.images import ImageSizer
from service.pipeline.suspects import Suspects
from service.pipeline.tokens import Tokens
from service.settings import EMBEDDED_MODEL
from service.telemetry.metrics import Metrics

OF_AN_IMAGE = ("width", "height", "processed", "placement", "tokens")
"""What both a count and the `usage` of an answer tell of each image."""
DETAILS = ("low", "high", "auto")
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
WORDS = [
    "What",
    "colour",
    "is",
    "the",
    "star,",
    "and",
    "how",
    "many",
    "shapes",
    "are",
    "there",
    "besides",
    "it?",
]
PHOTOGRAPHS = ((640, 480), (1024, 768), (1920, 1080), (4000, 3000))


def draw_requests(count: int, *, seed: int, images: int = 4) -> list[dict[str, Any]]:
    """Chat requests for one token: at most `images` images of random sizes, shapes, formats and details, among texts
    and turns."""
    rng = random.Random(seed)
    return [_request(rng, images) for _ in range(count)]


def _request(rng: random.Random, images: int) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [_part(rng) for _ in range(rng.randint(0, images))]
    parts.insert(rng.randint(0, len(parts)), {"type": "text", "text": _words(rng)})
    turns: list[dict[str, Any]] = [{"role": "user", "content": parts}]
    if rng.random() < 0.3:
        turns.insert(0, {"role": "system", "content": _words(rng)})
    if rng.random() < 0.3:
        turns += [{"role": "assistant", "content": _words(rng)}, {"role": "user", "content": _words(rng)}]
    return {"messages": turns, "max_tokens": 1, "temperature": 0}


def _part(rng: random.Random) -> dict[str, Any]:
    # as many tiny as large ones, and all shapes between a strip and a square
    longer = round(2 ** rng.uniform(3, 10.5))
    shorter = max(4, round(longer * 2 ** -rng.uniform(0, 3)))
    size = (longer, shorter) if rng.random() < 0.5 else (shorter, longer)
    image = Image.new("RGB", size, tuple(rng.randint(0, 255) for _ in range(3)))
    kind = rng.choice(FORMATS)
    return {"type": "image_url", "image_url": {"url": data_url(image, kind), "detail": rng.choice(DETAILS)}}


def _words(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(1, 40)))


class Count(NamedTuple):
    prompt: int
    """Tokens."""
    images: list[dict[str, Any]]
    """`OF_AN_IMAGE` of each."""


def compared(url: str, request: Mapping[str, Any]) -> tuple[Count, Count]:
    """What was counted of one request, and what was answered. Raises RuntimeError for an answer other than 200."""
    return counted(post(url, "/v1/tokenize", request)), answered(post(url, "/v1/chat/completions", request))


def counted(told: Mapping[str, Any]) -> Count:
    return Count(told["prompt_tokens"], _images(told["images"]))


def answered(answer: Mapping[str, Any]) -> Count:
    details = answer["usage"]["prompt_tokens_details"] or {}
    return Count(answer["usage"]["prompt_tokens"], _images(details.get("images", [])))


def _images(told: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{name: image[name] for name in OF_AN_IMAGE} for image in told]


def post(url: str, path: str, request: Mapping[str, Any]) -> Any:
    """Raises RuntimeError for an answer other than 200."""
    reply = httpx.post(url + path, json=request, timeout=300)
    if reply.status_code != 200:
        raise RuntimeError(f"{path}: {reply.status_code} {reply.text[:300]}")
    return reply.json()


class Reply:
    status = 200
    content_type = "application/json"

    async def body(self) -> AsyncIterator[bytes]:
        yield b'{"count":100,"max_model_len":4096,"tokens":[' + b"1," * 99 + b'1],"token_strs":null}'

    async def aclose(self) -> None:
        return


class Instant:
    """An engine that has always answered already, and its life."""

    ready = True
    incarnation = 0

    async def post(self, route: str, payload: Mapping[str, Any], headers: Mapping[str, str]) -> EngineReply:
        json.dumps(payload, separators=(",", ":")).encode("ascii")
        return Reply()

    async def get(self, route: str) -> EngineReply:
        return Reply()

    async def alive(self) -> bool:
        return True

    async def wait_ready(self, timeout: float) -> None:
        return

    def unavailable(self) -> EngineUnavailable:
        return EngineUnavailable("never", retry_after=1)


def gateway() -> tuple[Tokens, Fetcher]:
    """The real one, on the embedded model, around an engine that answers at once."""
    geometry, engine, metrics = load_geometry(EMBEDDED_MODEL), Instant(), Metrics(CollectorRegistry())
    fetcher = Fetcher(URLPolicy(), FetchLimits())

    def pipeline(handover: Measures) -> Pipeline:
        return Pipeline(
            images=ImageSizer(Ingest(fetcher, ImageLimits()), geometry, context=4096),
            handover=handover,
            placeholders=geometry.facts.placeholders,
            engine=engine,
            life=engine,
            suspects=Suspects(300),
            metrics=metrics,
            request_timeout=60,
            restart_wait=3,
        )

    smallest = geometry.plan(1, 1, Detail.LOW).layout
    return Tokens(counting=pipeline(Measures(smallest)), tokenizing=pipeline(Measures())), fetcher


def photograph(width: int, height: int) -> str:
    """A JPEG of a third of a byte a pixel, like a photograph's: gradients and a little noise."""
    gradient = Image.linear_gradient("L").resize((width, height))
    noise = Image.effect_noise((width, height), 12)
    picture = Image.merge("RGB", (Image.blend(gradient, noise, 0.6), gradient, noise))
    return data_url(picture, "JPEG")


@dataclass(frozen=True, slots=True)
class Times:
    """Medians in milliseconds, taken in turns."""

    body: int
    """Bytes."""
    wall: float
    processor: float
    calibration: float


async def timed(size: tuple[int, int], rounds: int) -> Times:
    tokens, fetcher = gateway()
    limits, buffer = RequestLimits(), bytes(8 * 1024**2)
    content = [{"type": "image_url", "image_url": {"url": photograph(*size)}}]
    body = json.dumps({"messages": [{"role": "user", "content": content}]}).encode()
    walls, processor, calibration = [], [], []
    for _ in range(rounds):
        began = time.perf_counter()
        blake3(buffer).digest()
        calibration.append(time.perf_counter() - began)
        began, used = time.perf_counter(), time.process_time()
        request = parse_chat(body, limits, models=("demo",))
        json.dumps(report(request, await tokens.count(request, {}))).encode()
        walls.append(time.perf_counter() - began)
        processor.append(time.process_time() - used)
    await fetcher.close()
    return Times(len(body), *(1000 * statistics.median(each) for each in (walls, processor, calibration)))


def check(url: str, count: int, seed: int) -> bool:
    """Prints what was compared; whether every count was right."""
    pairs = [compared(url, request) for request in draw_requests(count, seed=seed)]
    wrong = sum(before != after for before, after in pairs)
    prompts = [after.prompt for _, after in pairs]
    print(f"{count} requests of {min(prompts)} to {max(prompts)} prompt tokens: {wrong} counted wrongly")
    return not wrong


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--url", default="http://127.0.0.1:8000")
    options.add_argument("--n", type=int, default=200)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--rounds", type=int, default=101)
    given = options.parse_args()
    if not check(given.url.rstrip("/"), given.n, given.seed):
        print("a count is wrong: no times are reported", file=sys.stderr)
        return 1
    print(
        f"{'image':>12} {'body, KB':>9} {'count, ms':>10} {'processor, ms':>14} {'8 MiB of BLAKE3, ms':>20}"
    )
    for width, height in PHOTOGRAPHS:
        took = asyncio.run(timed((width, height), given.rounds))
        print(
            f"{width:>5} × {height:<4} {took.body / 1000:>9.0f} {took.wall:>10.2f} {took.processor:>14.2f} "
            f"{took.calibration:>20.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The check at the start: an image that the settings admit, and what the engine must answer."""

from __future__ import annotations

import base64
import io
import json
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from service.app.selfcheck import self_check
from service.domain import ChatRequest, View
from service.errors import ConfigurationError, EngineRejected
from tests.service.fakes import Reply, image_plan

LARGEST = SimpleNamespace(
    largest=image_plan(View(1120, 560, 28, 28), tokens=800, patches=3200),
    facts=SimpleNamespace(max_ratio=2.0, counted=True),
)


class Pipeline:
    def __init__(self, tokens: int, image_tokens: int = 800, error: Exception | None = None) -> None:
        self.asked: list[ChatRequest] = []
        self.reply = Reply(json.dumps({"usage": {"prompt_tokens": tokens}}).encode())
        self.image_tokens = image_tokens
        self.error = error

    async def chat(self, request: ChatRequest, headers: Any) -> Any:
        self.asked.append(request)
        if self.error is not None:
            raise self.error
        images = [SimpleNamespace(tokens=self.image_tokens)]
        return SimpleNamespace(body=self.reply.body, aclose=self.reply.aclose, images=images)


async def check(pipeline: Any, max_pixels: int = 10**9, max_patches: int = 10**9) -> int:
    geometry: Any = LARGEST
    return await self_check(pipeline, geometry, "m", max_pixels=max_pixels, max_patches=max_patches)


def picture(pipeline: Pipeline) -> Image.Image:
    (ref,) = pipeline.asked[0].images
    return Image.open(io.BytesIO(base64.b64decode(ref.url.partition(",")[2])))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("max_pixels", "size"),
    [
        (10**9, (1120, 560)),
        (1120 * 560, (1120, 560)),
        # 791 × 395 would be narrower than the largest image, which is as narrow as an image may be
        (313_600, (790, 395)),
        (20_000, (200, 100)),
        (1, (1, 1)),
    ],
)
async def test_the_image_is_the_largest_that_is_admitted(max_pixels: int, size: tuple[int, int]) -> None:
    pipeline = Pipeline(810)
    assert await check(pipeline, max_pixels) == 810
    assert picture(pipeline).size == size
    assert size[0] * size[1] <= max_pixels
    assert pipeline.reply.closed


@pytest.mark.anyio
async def test_a_small_batch_is_asked_with_a_small_image() -> None:
    pipeline = Pipeline(810)
    await check(pipeline, max_patches=800)
    assert picture(pipeline).size == (560, 280)


@pytest.mark.anyio
async def test_an_engine_that_counts_no_image_is_refused() -> None:
    pipeline = Pipeline(800)
    with pytest.raises(ConfigurationError, match="counts 800 prompt tokens for an image of 800 soft tokens"):
        await check(pipeline)
    assert pipeline.reply.closed


@pytest.mark.anyio
async def test_what_the_engine_refuses_is_told() -> None:
    refusal = EngineRejected("no such field", status=400)
    with pytest.raises(ConfigurationError, match="the engine refuses the hand-over: no such field"):
        await check(Pipeline(1, error=refusal))


@pytest.mark.anyio
async def test_where_nothing_is_known_of_images_words_are_enough() -> None:
    opaque: Any = SimpleNamespace(facts=SimpleNamespace(counted=False))
    pipeline = Pipeline(tokens=3)
    checked = self_check(pipeline, opaque, "m", max_pixels=1, max_patches=1)  # type: ignore[arg-type]
    assert await checked == 3
    assert pipeline.asked[0].images == []
    refused: Any = Pipeline(tokens=3, error=EngineRejected("no chat template", status=400))
    with pytest.raises(ConfigurationError, match="refuses a chat request: no chat template"):
        await self_check(refused, opaque, "m", max_pixels=1, max_patches=1)

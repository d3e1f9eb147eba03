"""One synthetic image through all stages, before the service reports that it is ready.

It is the largest that the checkpoint allows, so that limits, widths and the plugin's version are all checked.
"""

from __future__ import annotations

import io
import json

import pybase64
from PIL import Image

from service.domain import ChatRequest, Detail, ImageRef
from service.errors import ConfigurationError, EngineRejected
from service.families.base import Geometry
from service.pipeline.chat import Pipeline


async def self_check(
    pipeline: Pipeline, geometry: Geometry, model: str, *, max_pixels: int, max_patches: int
) -> int:
    """Asks for one token about a synthetic image; returns the prompt's length in tokens.

    The image is the largest that there can be, or as near to it as `max_pixels` and about `max_patches` allow.
    Raises ConfigurationError when the engine refuses the handle or counts another number of tokens; whatever
    else a request can raise is raised as it is.
    """
    if not geometry.facts.counted:
        return await _say_something(pipeline, model)
    largest = geometry.largest
    grid = largest.views[largest.grid]
    width, height = grid.width, grid.height
    shrink = min(1.0, max_pixels / (width * height), max_patches / largest.patches) ** 0.5
    height = max(1, int(shrink * height))
    width = max(1, int(min(shrink * width, geometry.facts.max_ratio * height)))
    try:
        answer = await pipeline.chat(_request(width, height, model), {})
    except EngineRejected as error:
        raise ConfigurationError(f"the engine refuses the hand-over: {error.message}") from None
    try:
        body = b"".join([chunk async for chunk in answer.body()])
    finally:
        await answer.aclose()
    tokens = int(json.loads(body)["usage"]["prompt_tokens"])
    rows = sum(image.tokens for image in answer.images)
    if tokens <= rows:
        raise ConfigurationError(
            f"the engine counts {tokens} prompt tokens for an image of {rows} soft tokens and a question: it does not "
            "put them in the image's place"
        )
    return tokens


async def _say_something(pipeline: Pipeline, model: str) -> int:
    """The same with words alone, where nothing is known about images."""
    request = ChatRequest(
        payload={"model": model, "messages": [{"role": "user", "content": "?"}], "max_tokens": 1},
        images=[],
        model=model,
        stream=False,
        include_usage=False,
        request_id="self-check",
    )
    try:
        answer = await pipeline.chat(request, {})
    except EngineRejected as error:
        raise ConfigurationError(f"the engine refuses a chat request: {error.message}") from None
    try:
        body = b"".join([chunk async for chunk in answer.body()])
    finally:
        await answer.aclose()
    return int(json.loads(body)["usage"]["prompt_tokens"])


def _request(width: int, height: int, model: str) -> ChatRequest:
    picture = io.BytesIO()
    Image.radial_gradient("L").resize((width, height)).convert("RGB").save(picture, "PNG")
    url = f"data:image/png;base64,{pybase64.b64encode(picture.getvalue()).decode()}"
    content = [
        {"type": "image_url", "image_url": {"url": url, "detail": "high"}},
        {"type": "text", "text": "?"},
    ]
    return ChatRequest(
        payload={"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 1},
        images=[ImageRef(url, Detail.HIGH, 0, 0, "messages[0].content[0].image_url.url")],
        model=model,
        stream=False,
        include_usage=False,
        request_id="self-check",
    )

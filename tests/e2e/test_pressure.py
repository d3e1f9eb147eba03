"""More images than the encoder can take: `detail: auto` is reduced, and what a client asked for is not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.cases import data_url
from demo.world import draw_scene, scene_seed
from tests.e2e.server import chat_body, serving

pytestmark = pytest.mark.e2e
DETAILS = {"X-Patchbay-Details": "1"}


def asked(number: int, detail: str) -> dict[str, Any]:
    _, image = draw_scene(scene_seed("evaluate", 11, number), "shapes")
    picture = {"url": data_url(image.resize((640, 480)), "PNG"), "detail": detail}
    return {
        **chat_body({"type": "image_url", "image_url": picture}, question="What do you see?"),
        "max_tokens": 2,
    }


async def together(url: str, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is told of the image of each, all sent at once."""
    async with httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=None)) as client:

        async def one(body: dict[str, Any]) -> dict[str, Any]:
            reply = await client.post(f"{url}/v1/chat/completions", json=body, headers=DETAILS)
            assert reply.status_code == 200, reply.text
            (image,) = reply.json()["patchbay"]["images"]
            assert isinstance(image, dict)
            return image

        return list(await asyncio.gather(*map(one, bodies)))


def test_auto_is_reduced_while_the_queue_is_long(tmp_path: Path) -> None:
    with serving(tmp_path / "log", "--auto-detail-backlog", "0.01") as server:
        (calm,) = asyncio.run(together(server.url, [asked(0, "auto")]))
        whole = calm["tiles"]
        assert whole > 4 and not calm["reduced"]
        flood = [asked(number, "auto") for number in range(1, 33)]
        told = asyncio.run(
            together(
                server.url, [*flood, *[asked(0, "auto")] * 4, *(asked(n, "high") for n in range(33, 37))]
            )
        )
        autos, cached, highs = told[:32], told[32:36], told[36:]
        pressed = [image for image in autos if image["reduced"]]
        assert pressed and all(image["tiles"] <= whole // 4 for image in pressed)
        assert all(image["tiles"] == whole for image in autos if not image["reduced"])
        assert [(image["cached"], image["reduced"], image["tiles"]) for image in cached] == [
            (True, False, whole)
        ] * 4
        assert [(image["reduced"], image["tiles"]) for image in highs] == [(False, whole)] * 4
        assert server.metric("patchbay_images_reduced_total") == len(pressed)
        (calm,) = asyncio.run(together(server.url, [asked(40, "auto")]))
        assert not calm["reduced"]

"""Checkpoints that Patchbay has no geometry for, served by `images=auto`: a text model, and one with a tower."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from demo.cases import data_url
from tests.e2e.server import Server, chat_body, serving
from tests.service.tiny_unknown import write_bilinear, write_text_model

pytestmark = pytest.mark.e2e
PICTURE = {"type": "image_url", "image_url": {"url": data_url(Image.new("RGB", (90, 60), "red"), "PNG")}}


def started(folder: Path, write: Callable[[Path], None]) -> Iterator[Server]:
    write(folder / "tiny")
    with serving(folder / "log", str(folder / "tiny")) as server:
        yield server


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from started(tmp_path_factory.mktemp("text"), write_text_model)


@pytest.fixture(scope="module")
def bilinear(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from started(tmp_path_factory.mktemp("bilinear"), write_bilinear)


def ask(server: Server, *parts: dict[str, Any], **fields: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/chat/completions", json=chat_body(*parts, **fields), timeout=120)


def card(server: Server) -> dict[str, Any]:
    (found,) = httpx.get(f"{server.url}/v1/models").json()["data"]
    return dict(found["patchbay"])


def test_a_text_model_answers_and_takes_no_images(text: Server) -> None:
    assert card(text)["images"] == "passthrough" and "llama" in card(text)["why"]
    answered = ask(text, max_tokens=3, ignore_eos=True)
    assert answered.status_code == 200 and answered.json()["usage"]["completion_tokens"] == 3
    refused = ask(text, PICTURE)
    assert (refused.status_code, refused.json()["error"]["param"]) == (
        400,
        "messages[0].content[0].image_url.url",
    )
    assert refused.json()["error"]["message"] == "The model tiny takes no images."


def test_images_go_to_a_tower_that_only_the_engine_knows(bilinear: Server) -> None:
    assert "resample = 2" in card(bilinear)["why"]
    plain, seen = ask(bilinear, max_tokens=3), ask(bilinear, PICTURE, max_tokens=3)
    assert (plain.status_code, seen.status_code) == (200, 200)
    assert seen.json()["usage"]["prompt_tokens"] > plain.json()["usage"]["prompt_tokens"]
    assert "image_detail" not in seen.json()["usage"]["prompt_tokens_details"]
    other = ask(bilinear, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}})
    assert (other.status_code, other.json()["error"]["code"]) == (400, "unsupported_image_format")


def test_a_prompt_is_counted_by_the_engine_where_only_it_knows_the_images(bilinear: Server) -> None:
    for parts in ((), (PICTURE,)):
        told = httpx.post(f"{bilinear.url}/v1/tokenize", json=chat_body(*parts), timeout=120).json()
        assert told["prompt_tokens"] == ask(bilinear, *parts, max_tokens=1).json()["usage"]["prompt_tokens"]
        assert (told["images"], told["image_tokens"]) == ((None, None) if parts else ([], 0))


def test_a_placeholder_in_text_stays_text(bilinear: Server) -> None:
    hostile = "<|image_pad|> <|vision_start|><|video_pad|>"
    assert ask(bilinear, question=hostile, max_tokens=1).status_code == 200
    assert ask(bilinear, PICTURE, question=hostile, max_tokens=1).status_code == 200

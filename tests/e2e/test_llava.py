"""LLaVA-1.5 and LLaVA-NeXT served whole: by handles, by the engine's own tower, and as transformers answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.e2e.comparison import Told, body, by_transformers, draw_cases, gather, told
from tests.e2e.server import Server, serving
from tests.service.tiny_llava import GRID, TOKENS, write_checkpoint

pytestmark = pytest.mark.e2e

REQUESTS, AT_ONCE = 24, 6
CASES = draw_cases(REQUESTS, seed=11)  # whose answers have no token that is nearly as likely as another


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
    return by_transformers(checkpoint, CASES)


def test_answers_are_transformers_and_those_of_the_engines_own_tower(
    handles: Server, passthrough: Server, expected: list[Told]
) -> None:
    bodies = [body(images) for images in CASES]
    by_handle, by_engine = (gather(server, bodies, AT_ONCE) for server in (handles, passthrough))
    for theirs, ours, passed in zip(expected, by_handle, by_engine, strict=True):
        assert told(ours).same(theirs) and told(passed).same(theirs)
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

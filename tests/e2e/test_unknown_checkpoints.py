"""Checkpoints of no family, each of another kind: every one is served, or refused at the start with a reason.

`make families` runs all; two quick ones are among the other tests of a real engine.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from benchmarks.processes import free_port
from benchmarks.servers import PATCHBAY
from demo.cases import data_url
from tests.e2e.server import Server, chat_body, environment, serving
from tests.service import tiny_others as others

PICTURE = {"type": "image_url", "image_url": {"url": data_url(Image.new("RGB", (90, 60), "red"), "PNG")}}
URL = "messages[0].content[0].image_url.url"
Write = Callable[[Path], None]


@dataclass(frozen=True)
class Served:
    write: Write
    takes_images: bool = False
    quick: bool = False


@dataclass(frozen=True)
class Refused:
    write: Write
    why: str
    """What the sentence has after the folder's name."""
    quick: bool = False
    starts: bool = False
    """Whether only the engine finds out."""


SERVED = (
    Served(others.write_qwen3_in_shards, quick=True),
    Served(others.write_quantised_phi3),
    Served(others.write_olmoe),
    Served(others.write_qwen3_5_text),
    Served(others.write_qwen2_audio),
    Served(others.write_llava_next_video),
    Served(others.write_glm_ocr, takes_images=True),
)
REFUSED = (
    Refused(others.write_whisper, "writes down speech and answers no chat requests"),
    Refused(others.write_reranker, "embeds or classifies, and answers no chat requests"),
    Refused(others.write_embedder, "embeds texts and answers no chat requests", quick=True),
    Refused(others.write_blip2_with_t5, "model_type 't5'; only 'opt' is supported, here and by vLLM"),
    Refused(others.write_adapter_alone, "is an adapter"),
    Refused(others.write_gguf_alone, "GGUF"),
    Refused(others.write_mamba, "lacks an operation that the model needs", starts=True),
    Refused(others.write_glm_ocr_without_tower, "visual", starts=True),
)


def cases(made: tuple[Any, ...]) -> list[Any]:
    return [
        pytest.param(
            one,
            id=one.write.__name__.removeprefix("write_"),
            marks=[pytest.mark.families, *([pytest.mark.e2e] if one.quick else [])],
        )
        for one in made
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tiny"


@pytest.fixture
def server(request: pytest.FixtureRequest, folder: Path) -> Iterator[Server]:
    request.getfixturevalue("served").write(folder)
    with serving(folder.parent / "log", str(folder)) as server:
        yield server


def ask(server: Server, *parts: dict[str, Any]) -> httpx.Response:
    asked = chat_body(*parts, max_tokens=3, ignore_eos=True)
    return httpx.post(f"{server.url}/v1/chat/completions", json=asked, timeout=120)


@pytest.mark.parametrize("served", cases(SERVED))
def test_it_is_served_by_pass_through(served: Served, server: Server) -> None:
    (model,) = httpx.get(f"{server.url}/v1/models").json()["data"]
    assert model["patchbay"]["images"] == "passthrough" and "model_type" in model["patchbay"]["why"]
    plain = ask(server)
    assert (plain.status_code, plain.json()["usage"]["completion_tokens"]) == (200, 3)
    seen = ask(server, PICTURE)
    if served.takes_images:
        assert seen.status_code == 200, seen.text
        assert seen.json()["usage"]["prompt_tokens"] > plain.json()["usage"]["prompt_tokens"]
    else:
        assert (seen.status_code, seen.json()["error"]["param"]) == (400, URL)
        assert seen.json()["error"]["message"] == "The model tiny takes no images."
    shortest = httpx.post(f"{server.url}/v1/completions", json={"prompt": [1], "max_tokens": 2}, timeout=120)
    assert shortest.status_code == 200, shortest.text
    assert shortest.json()["usage"]["prompt_tokens"] == 1
    assert ask(server).status_code == 200
    assert server.metric("patchbay_engine_restarts_total") == 0


@pytest.mark.parametrize("refused", cases(REFUSED))
def test_it_is_refused_in_a_sentence(refused: Refused, folder: Path) -> None:
    refused.write(folder)
    port, engine = str(free_port()), str(free_port())
    ended = subprocess.run(
        [*PATCHBAY, "serve", str(folder), "--port", port, "--engine-port", engine],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=300,
        check=False,
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stdout + ended.stderr
    assert ("starting vLLM" in ended.stdout) == refused.starts
    told = ended.stderr[ended.stderr.rindex("patchbay serve: ") :]
    assert refused.why in told
    if not refused.starts:
        assert ended.stderr == told and told.count("\n") == 1
        assert told.startswith("patchbay serve: model: ")

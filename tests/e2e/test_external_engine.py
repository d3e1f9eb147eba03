"""An engine that the operator starts, with the command that `patchbay check` prints."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from benchmarks.processes import free_port
from benchmarks.servers import PATCHBAY
from demo.cases import data_url
from demo.world import draw_scene, scene_seed
from tests.e2e.server import Server, chat_body, environment, serving

pytestmark = pytest.mark.e2e


def command(engine_url: str, *flags: str) -> list[str]:
    """What `patchbay check` says starts the engine."""
    said = subprocess.run(
        [*PATCHBAY, "check", "--engine-url", engine_url, *flags],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    ).stdout
    (line,) = (line for line in said.splitlines() if line.strip().startswith("env "))
    return shlex.split(line)


@contextmanager
def running(words: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as stream:
        process = subprocess.Popen(words, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answer(server: Server) -> str:
    _, image = draw_scene(scene_seed("evaluate", 9, 7), "shapes")
    part = {"type": "image_url", "image_url": {"url": data_url(image, "PNG")}}
    response = httpx.post(
        f"{server.url}/v1/chat/completions", json=chat_body(part, question="What do you see?"), timeout=120
    )
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["message"]["content"])


def test_it_answers_and_survives_a_restart_of_patchbay(tmp_path: Path) -> None:
    port, engine_port = free_port(), free_port()
    url = f"http://127.0.0.1:{engine_port}"
    with running(command(url, "--port", str(port)), tmp_path / "engine.log"):
        with serving(tmp_path / "first.log", port=port, engine_url=url) as server:
            first = answer(server)
            assert first
        with serving(tmp_path / "second.log", port=port, engine_url=url) as server:
            assert answer(server) == first
            assert server.metric("patchbay_engine_up") == 1.0


def test_without_it_the_service_is_not_ready_and_says_why(tmp_path: Path) -> None:
    port = free_port()
    log = tmp_path / "log"
    with log.open("wb") as stream:
        ended = subprocess.run(
            [
                *(*PATCHBAY, "serve", "--port", str(port), "--engine-start-timeout", "1"),
                *("--engine-url", f"http://127.0.0.1:{free_port()}"),
            ],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment(),
            check=False,
        )
    assert ended.returncode != 0
    assert "engine_url is not responding" in log.read_text()

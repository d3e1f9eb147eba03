"""The program that the test's pod runs, as it stands in the rendered pod, against a server that answers as told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.helm.charts import EVERYTHING, ROOT, containers, objects


@dataclass
class Told:
    """What the server answers, and what it was asked."""

    status: int = 200
    answer: str = "red"
    url: str = ""
    asked: list[tuple[str, str | None, Any]] = field(default_factory=list)


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            told.asked.append((self.path, self.headers["authorization"], body))
            self.send_response(told.status)
            self.end_headers()
            self.wfile.write(json.dumps({"choices": [{"message": {"content": told.answer}}]}).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        told.url = f"http://127.0.0.1:{server.server_port}"
        yield told
        server.shutdown()
        thread.join()


def run(url: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (container,) = [item for item in containers(objects(EVERYTHING)) if item["name"] == "ask"]
    assert container["command"] == ["python", "-c"]
    program, address = container["args"]
    assert address == "http://shop-patchbay.vision.svc:80"
    assert "$(" not in program, "Kubernetes would take it for a variable"
    return subprocess.run(
        [sys.executable, "-c", program, url],
        env={**environment, "PATH": os.environ["PATH"]},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_asks_about_the_picture(told: Told) -> None:
    done = run(told.url, API_KEYS="first, second")
    assert (done.returncode, done.stdout) == (0, "What colour is the star? red\n")
    ((path, key, body),) = told.asked
    assert (path, key) == ("/v1/chat/completions", "Bearer first")
    picture, question = body["messages"][0]["content"]
    assert picture["image_url"]["url"].startswith("data:image/jpeg;base64,/9j/")
    assert question["text"] == "What colour is the star?"


def test_a_wrong_answer_fails(told: Told) -> None:
    told.answer = "blue"
    done = run(told.url)
    assert (done.returncode, done.stdout) == (1, "What colour is the star? blue\nThe star is red.\n")
    assert told.asked[0][1] is None


def test_a_refusal_is_shown(told: Told) -> None:
    told.status, told.answer = 401, "no key"
    done = run(told.url)
    assert done.returncode == 1
    assert "answered 401" in done.stdout and "no key" in done.stdout


def test_a_server_that_is_not_there_fails() -> None:
    done = run("http://127.0.0.1:9")
    assert done.returncode == 1
    assert "does not answer" in done.stdout

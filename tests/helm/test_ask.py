"""The program that the test's pod runs, as it stands in the rendered pod, against a server that answers as told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.images import ROOT, context
from tests.helm.charts import EVERYTHING, containers, objects, profile


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


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the images hold of this repository, and nothing else of it."""
    folder = tmp_path_factory.mktemp("image")
    for file in context():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, folder / file)
    return folder


def run(image: Path, url: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (container,) = [item for item in containers(objects(EVERYTHING)) if item["name"] == "ask"]
    *limit, python, flag = container["command"]
    assert (limit, python, flag) == (["timeout", "300"], "python", "-c")
    program, address = container["args"]
    assert address == "http://shop-patchbay.vision.svc:80"
    assert "$(" not in program, "Kubernetes would take it for a variable"
    return subprocess.run(
        [*limit, sys.executable, flag, program, url],
        env={**environment, "PATH": os.environ["PATH"]},
        cwd=image,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_asks_about_the_picture(told: Told, image: Path) -> None:
    done = run(image, told.url, API_KEYS="first, second")
    assert (done.returncode, done.stdout) == (0, "What colour is the star? red\n")
    ((path, key, body),) = told.asked
    assert (path, key) == ("/v1/chat/completions", "Bearer first")
    picture, question = body["messages"][0]["content"]
    assert picture["image_url"]["url"].startswith("data:image/jpeg;base64,/9j/")
    assert question["text"] == "What colour is the star?"


def test_a_wrong_answer_fails(told: Told, image: Path) -> None:
    told.answer = "blue"
    done = run(image, told.url)
    assert (done.returncode, done.stdout) == (1, "What colour is the star? blue\nThe star is red.\n")
    assert told.asked[0][1] is None


def test_a_refusal_is_shown(told: Told, image: Path) -> None:
    told.status, told.answer = 401, "no key"
    done = run(image, told.url)
    assert done.returncode == 1
    assert "answered 401" in done.stdout and "no key" in done.stdout


def test_a_server_that_is_not_there_fails(image: Path) -> None:
    done = run(image, "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "does not answer" in done.stdout


def test_its_pod_is_placed_as_the_servers_and_waits_for_its_image() -> None:
    made = objects(profile("one-gpu"))
    tested, deployed = made["tests/ask.yaml"]["spec"], made["deployment.yaml"]["spec"]["template"]["spec"]
    assert tested["tolerations"] == deployed["tolerations"]
    assert tested["nodeSelector"] == deployed["nodeSelector"]
    assert tested["containers"][0]["image"] == deployed["containers"][0]["image"]
    assert "activeDeadlineSeconds" not in tested


def test_it_can_have_a_smaller_image_and_another_time() -> None:
    made = objects({"test": {"image": "registry.example/patchbay:gateway", "timeoutSeconds": 60}})
    (container,) = made["tests/ask.yaml"]["spec"]["containers"]
    assert container["image"] == "registry.example/patchbay:gateway"
    assert container["command"][:2] == ["timeout", "60"]

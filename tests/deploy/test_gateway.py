"""The gateway serves with nothing installed but what pyproject.toml lists without extras.

Everything else that this environment holds is hidden from a real `patchbay serve` in a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution, packages_distributions

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.processes import free_port
from tests.deploy.images import ROOT
from tests.deploy.processes import said_until

HIDING = """
import json, sys
from importlib.machinery import PathFinder

hidden = set(json.loads(sys.argv[1]))

class Shown(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in hidden else super().find_spec(name, path, target)

sys.meta_path[:] = [Shown if finder is PathFinder else finder for finder in sys.meta_path]

from service.cli import main
raise SystemExit(main(sys.argv[2:]))
"""


def required() -> set[str]:
    """Distributions of the gateway: its dependencies and theirs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(line) for line in project["dependencies"]]
    found: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        if (name := canonicalize_name(requirement.name)) in found:
            continue
        found.add(name)
        lines = [Requirement(line) for line in distribution(name).requires or ()]
        extras = requirement.extras or {""}
        waiting += [
            line
            for line in lines
            if line.marker is None or any(line.marker.evaluate({"extra": extra}) for extra in extras)
        ]
    return found


@pytest.fixture(scope="module")
def hidden() -> list[str]:
    """Top-level modules of everything else that is installed here."""
    allowed = required() | {"patchbay"}
    return [
        module
        for module, owners in packages_distributions().items()
        if not allowed & {canonicalize_name(owner) for owner in owners}
    ]


def command(hidden: list[str], *arguments: str) -> tuple[list[str], dict[str, str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PATCHBAY_")}
    return [sys.executable, "-c", HIDING, json.dumps(hidden), *arguments], environment


@pytest.fixture
def gateway(hidden: list[str]) -> Iterator[str]:
    """Its address, once it waits for the engine that does not exist."""
    port = free_port()
    flags = (
        "--images",
        "passthrough",
        "--engine-url",
        f"http://127.0.0.1:{free_port()}",
        "--port",
        str(port),
    )
    line, environment = command(hidden, "serve", *flags)
    process = subprocess.Popen(
        line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said_until(process, "expecting an engine")
    yield f"http://127.0.0.1:{port}"
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate()
    assert process.returncode == -signal.SIGTERM and "draining" in rest, rest


def test_what_is_hidden_is_what_the_gateway_must_not_need(hidden: list[str]) -> None:
    assert {
        "torch",
        "torchvision",
        "triton",
        "transformers",
        "vllm",
        "safetensors",
        "huggingface_hub",
    } <= set(hidden)
    assert not {"aiohttp", "fastapi", "numpy", "PIL", "prometheus_client", "uvicorn"} & set(hidden)


def test_the_gateway_answers_alone(gateway: str) -> None:
    assert httpx.get(f"{gateway}/livez").json() == {"status": "live"}
    ready = httpx.get(f"{gateway}/readyz")
    assert (ready.status_code, ready.json()["reasons"]["service"]) == (503, "starting")
    assert "\npatchbay_starting 1.0\n" in httpx.get(f"{gateway}/metrics").text
    question = {"messages": [{"role": "user", "content": "Anybody there?"}]}
    refused = httpx.post(f"{gateway}/v1/chat/completions", json=question)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_unavailable")
    assert refused.json()["error"]["message"] == "The service is still starting."


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), ["vLLM is not installed", "engine_url"]),
        (("--images", "handles"), ["images=handles", "PyTorch is not installed", "engine_url"]),
        (("--images", "passthrough"), ["vLLM is not installed", "engine_url"]),
    ],
)
def test_what_it_cannot_do_is_said_at_the_start(
    hidden: list[str], flags: tuple[str, ...], words: list[str]
) -> None:
    line, environment = command(hidden, "serve", *flags)
    result = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert all(word in result.stderr for word in words) and "Traceback" not in result.stderr


def test_it_can_be_checked(hidden: list[str]) -> None:
    line, environment = command(
        hidden, "check", "--images", "passthrough", "--engine-url", "http://engine:8000"
    )
    result = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "encoder and engine run elsewhere" in result.stdout and "start it on engine, with" in result.stdout

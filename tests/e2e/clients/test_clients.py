"""Clients as their users install them, each in its default settings, against one server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.clients.asking import THINGS
from tests.e2e.clients.asks import ASKS
from tests.e2e.clients.known import OF_NODE
from tests.e2e.clients.record import Record
from tests.e2e.server import Server

pytestmark = pytest.mark.clients
HERE = Path(__file__).parent
ROOT = HERE.parents[2]
ENVIRONMENTS = ROOT / ".venv" / "clients"
"""Made by `make clients`: one for each list in `requirements/`, by its name, and one of Node."""
NODE = ENVIRONMENTS / "node"
"""Holds a copy of `node/` beside the clients of Node."""
OFFLINE = {"HF_HUB_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def python(environment: str = "most") -> Path:
    return ENVIRONMENTS / environment / "bin" / "python"


class Snippet(NamedTuple):
    name: str
    language: str
    code: str


SNIPPETS = [
    Snippet(f"{language}-{number}", language, code)
    for number, (language, code) in enumerate(
        re.findall(r"```(python|js|sh)\n(.*?)```", (ROOT / "docs" / "clients.md").read_text(), re.S)
    )
]
"""Those of the page; its only other one is the proxy's configuration, with which the proxy is started."""
PROGRAMS = {
    "PATH": f"{HERE / 'bin'}:{python().parent}:{os.environ['PATH']}",
    "PYTHON": sys.executable,
    "PYTHONPATH": str(ROOT),
}
"""What a shell finds: those that `make clients` has installed, and vLLM's."""


def run(record: Record, command: Sequence[str | Path], **environment: str) -> None:
    """Runs one client, whose last line says what it did, which must be everything."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=600,
        cwd=ROOT,
        env={**os.environ, **OFFLINE, "PATCHBAY_ROOT": f"{ROOT.as_uri()}/", **environment},
    )
    told = json.loads((done.stdout.strip().splitlines() or ["{}"])[-1])
    record.version(told.get("version", ""))
    record.did(*told.get("done", ()))
    if done.returncode:
        record.note(done.stderr.strip().rpartition("\n")[2][:100])
    assert done.returncode == 0, done.stderr
    assert sorted(told["done"]) == sorted(THINGS)
    record.left_a_stream()
    record.same_as_vllm()


@pytest.mark.parametrize("name", ASKS)
def test_a_client_in_python(name: str, record: Record) -> None:
    ask = ASKS[name]
    record.who((ask.package, ask.api))
    run(record, [python(ask.environment), "-m", "tests.e2e.clients.asks", name, record.url])


@pytest.mark.parametrize("name", OF_NODE)
def test_a_client_in_node(name: str, record: Record) -> None:
    record.who(OF_NODE[name])
    if shutil.which("node") is None:
        record.note("no node on this machine")
        pytest.skip("no node on this machine")
    run(record, ["node", NODE / "asks.mjs", name, record.url])


@pytest.mark.parametrize("snippet", SNIPPETS, ids=[snippet.name for snippet in SNIPPETS])
def test_the_snippets_of_the_page_work(snippet: Snippet, patchbay: Server, tmp_path: Path) -> None:
    if snippet.language == "js" and shutil.which("node") is None:
        pytest.skip("no node on this machine")
    code = snippet.code.replace("http://127.0.0.1:8000", patchbay.url)
    (tmp_path / "demo").symlink_to(ROOT / "demo")
    done = subprocess.run(
        command_of(snippet, code, tmp_path),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=600,
        env={**os.environ, **OFFLINE, **PROGRAMS},
    )
    assert done.returncode == 0 and done.stdout.strip(), done.stderr
    if "star" in code and snippet.language != "sh":
        assert done.stdout.strip().endswith(("red", "1.0"))


def command_of(snippet: Snippet, code: str, folder: Path) -> list[str | Path]:
    if snippet.language == "sh":
        return ["bash", "-euc", code]
    if snippet.language == "python":
        return [python("inspect-ai" if "inspect_ai" in code else "most"), "-c", code]
    # clients of Node are found beside the file that imports them
    (folder / "node_modules").symlink_to(NODE / "node_modules")
    (folder / "snippet.mjs").write_text(code)
    return ["node", "snippet.mjs"]

"""Clients as their users install them, each in its default settings, against one server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.e2e.clients.asking import THINGS
from tests.e2e.clients.asks import ASKS, BUT_ABORT
from tests.e2e.server import Server

pytestmark = pytest.mark.clients
HERE = Path(__file__).parent
ROOT = HERE.parents[2]
ENVIRONMENTS = ROOT / ".venv" / "clients"
"""Made by `make clients`: one for each list in `requirements/`, by its name, and one of Node."""
NODE = ENVIRONMENTS / "node"
"""Holds a copy of `node/` beside the clients of Node."""
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "clients.md").read_text(), re.S)

OF_NODE = {
    "openai_chat": ("openai (Node)", "chat", THINGS),
    "openai_responses": ("openai (Node)", "Responses", BUT_ABORT),
    "ai_default": ("@ai-sdk/openai", "Responses", THINGS),
    "ai_compatible": ("@ai-sdk/openai-compatible", "chat", THINGS),
}

Record = Callable[[str, object], None]


def python(environment: str = "most") -> Path:
    return ENVIRONMENTS / environment / "bin" / "python"


def run(record: Record, command: Sequence[str | Path], things: Sequence[str]) -> None:
    """Runs one client, whose last line says what it did, which must be all of `things`."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env={**os.environ, "PATCHBAY_ROOT": f"{ROOT.as_uri()}/"},
    )
    told = json.loads((done.stdout.strip().splitlines() or ["{}"])[-1])
    record("version", told.get("version", ""))
    for thing in told.get("done", ()):
        record(thing, "yes")
    if done.returncode:
        record("note", done.stderr.strip().rpartition("\n")[2][:100])
    assert done.returncode == 0, done.stderr
    assert sorted(told["done"]) == sorted(things)


@pytest.mark.parametrize("name", ASKS)
def test_a_client_in_python(name: str, patchbay: Server, record_property: Record) -> None:
    ask = ASKS[name]
    record_property("client", ask.package)
    record_property("api", ask.api)
    run(
        record_property,
        [python(ask.environment), "-m", "tests.e2e.clients.asks", name, patchbay.url],
        ask.things,
    )


@pytest.mark.parametrize("name", OF_NODE)
def test_a_client_in_node(name: str, patchbay: Server, record_property: Record) -> None:
    client, api, things = OF_NODE[name]
    record_property("client", client)
    record_property("api", api)
    if shutil.which("node") is None:
        record_property("note", "no node on this machine")
        pytest.skip("no node on this machine")
    run(record_property, ["node", NODE / "asks.mjs", name, patchbay.url], things)


@pytest.mark.parametrize("code", SNIPPETS, ids=[f"snippet-{number}" for number in range(len(SNIPPETS))])
def test_the_snippets_of_the_page_work(code: str, patchbay: Server) -> None:
    code = code.replace("http://127.0.0.1:8000", patchbay.url)
    done = subprocess.run(
        [python(), "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=300, check=False
    )
    assert done.returncode == 0 and done.stdout.strip(), done.stderr

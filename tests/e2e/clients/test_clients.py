"""Clients as their users install them, each in its default settings, against one server."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.clients.asks import ASKS
from tests.e2e.server import Server

pytestmark = pytest.mark.clients
HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PYTHON = ROOT / ".venv" / "clients" / "bin" / "python"
"""Made by `make clients`."""
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "clients.md").read_text(), re.S)


@pytest.mark.parametrize("name", ASKS)
def test_a_client_gets_its_answer(
    name: str, patchbay: Server, record_property: Callable[[str, object], None]
) -> None:
    ask = ASKS[name]
    record_property("client", ask.package)
    record_property("asked", ask.what)
    done = subprocess.run(
        [PYTHON, HERE / "asks.py", name, patchbay.url],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    answer = lines[-1] if lines else ""
    record_property("version", lines[0] if lines else "")
    record_property(
        "answer", answer if done.returncode == 0 else done.stderr.strip().rpartition("\n")[2][:100]
    )
    assert done.returncode == 0, done.stderr
    assert answer.lower() in ask.expected


@pytest.mark.parametrize("code", SNIPPETS, ids=[f"snippet-{number}" for number in range(len(SNIPPETS))])
def test_the_snippets_of_the_page_work(code: str, patchbay: Server) -> None:
    code = code.replace("http://127.0.0.1:8000", patchbay.url)
    done = subprocess.run(
        [PYTHON, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=300, check=False
    )
    assert done.returncode == 0 and done.stdout.strip(), done.stderr

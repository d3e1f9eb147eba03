"""Every shape of request, asked of Patchbay and of vLLM's own server with the same model, in turns.

Answers are equal but for the members that the table in docs/clients.md lists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.processes import serving
from benchmarks.servers import vllm_alone
from service.settings import EMBEDDED_MODEL
from tests.e2e.clients.shapes import SHAPES, Shape
from tests.e2e.server import Server

pytestmark = pytest.mark.clients
PAGE = Path(__file__).parents[3] / "docs" / "clients.md"
NOT_COMPARED = re.compile(
    r"(^|\.)(id|created|created_at|completed_at|item_id|call_id|system_fingerprint)$|_tokens_details\.|^error\."
)
"""Names and times, which no two answers share; what usage says of images and caches; and the words of errors."""
NEAR = 0.02
"""Of log probabilities: what the order of sums may change."""
ABSENT = (None, [], {})
"""What says nothing, as a member that is not there."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = vllm_alone(str(EMBEDDED_MODEL), (), threads=1)
    log = tmp_path_factory.mktemp("vllm") / "log"
    with serving(server.argv, server.environment, log, server.ready):
        yield server.url


def asked(url: str, shape: Shape) -> dict[str, Any]:
    """The answer's members by path; of a stream those of all its events, with their pieces of text joined."""
    reply = httpx.post(f"{url}{shape.path}", json=shape.body, timeout=300)
    told = {"status": reply.status_code}
    if not reply.headers["content-type"].startswith("text/event-stream"):
        return {**told, **members(reply.json())}
    joined: dict[str, Any] = {}
    for line in reply.text.splitlines():
        if line.startswith("data: {"):
            for path, value in members(json.loads(line[6:])).items():
                text = isinstance(value, str) and path.endswith(PIECES)
                joined[path] = joined.get(path, "") + value if text else value
    return {**told, **joined}


PIECES = (".content", ".text", ".arguments", "delta", ".partial_json")


def members(value: Any, path: str = "") -> dict[str, Any]:
    """Leaves by path; the place in a list is part of it."""
    if isinstance(value, dict) and value:
        return {
            leaf: found
            for name, member in value.items()
            for leaf, found in members(member, f"{path}.{name}").items()
        }
    if isinstance(value, list) and value:
        return {
            leaf: found
            for place, member in enumerate(value)
            for leaf, found in members(member, f"{path}[{place}]").items()
        }
    return {} if value in ABSENT else {path.lstrip("."): value}


def differing(ours: dict[str, Any], theirs: dict[str, Any]) -> set[str]:
    """Paths without their places in lists; the status alone where that differs."""
    if ours["status"] != theirs["status"]:
        return {"status"}
    return {
        re.sub(r"\[\d+\]", "[]", path)
        for path in ours.keys() | theirs.keys()
        if not NOT_COMPARED.search(path) and not same(ours.get(path), theirs.get(path))
    }


def same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, abs=NEAR)
    return one == other


def documented() -> dict[str, set[str]]:
    """By shape, from the page's table."""
    rows = re.findall(r"^\| `([^`]+)` \| (.*?) \|", PAGE.read_text(), re.M)
    return {name: set(re.findall(r"`([^`]+)`", cell)) for name, cell in rows if name in SHAPES}


@pytest.mark.parametrize("name", SHAPES)
def test_answers_differ_where_the_page_says_so(name: str, patchbay: Server, alone: str) -> None:
    ours, theirs = asked(patchbay.url, SHAPES[name]), asked(alone, SHAPES[name])
    found = differing(ours, theirs)
    assert found == documented().get(name, set()), {
        "ours": {path: value for path, value in ours.items() if theirs.get(path) != value},
        "vllm": {path: value for path, value in theirs.items() if ours.get(path) != value},
    }

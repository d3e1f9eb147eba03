"""Two servers' answers to one request, member by member, and what docs/clients.md says of their differences."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.clients.asking import SHORT
from tests.e2e.clients.shapes import SHAPES, Shape

PAGE = Path(__file__).parents[3] / "docs" / "clients.md"
NOT_COMPARED = re.compile(
    r"(^|\.)(id|created|created_at|completed_at|item_id|call_id|system_fingerprint|sequence_number)$|_tokens_details\.|^error\."
)
"""Names and times, which no two answers share; how many events tokens come in, which time decides; what usage says of
images and caches; and the words of errors."""
PIECES = (".content", ".text", ".arguments", "delta", ".partial_json")
"""Members of events that are joined to what they are pieces of."""
NEAR = 0.02
"""Of log probabilities: what the order of sums may change."""
ABSENT = (None, [], {})
"""What says nothing, as a member that is not there."""
CUT = 8
"""Tokens of an answer that would be long."""
LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
GREEDY = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")

Members = dict[str, Any]
"""Leaves by path, and the `status`."""


def asked(url: str, shape: Shape) -> Members:
    """The answer's members; of a stream those of all its events, with their pieces of text joined."""
    reply = httpx.post(f"{url}{shape.path}", json=shape.body, timeout=300)
    told = {"status": reply.status_code}
    if not reply.headers["content-type"].startswith("text/event-stream"):
        return {**told, **members(reply.json())}
    joined: Members = {}
    for line in reply.text.splitlines():
        if line.startswith("data: {"):
            for path, value in members(json.loads(line[6:])).items():
                text = isinstance(value, str) and path.endswith(PIECES)
                joined[path] = joined.get(path, "") + value if text else value
    return {**told, **joined}


def members(value: Any, path: str = "") -> Members:
    """Leaves by path; the place in a list is part of it."""
    if isinstance(value, dict) and value:
        inner: Iterable[tuple[str, Any]] = ((f"{path}.{name}", member) for name, member in value.items())
    elif isinstance(value, list) and value:
        inner = ((f"{path}[{place}]", member) for place, member in enumerate(value))
    else:
        return {} if value in ABSENT else {path.lstrip("."): value}
    return {leaf: found for place, member in inner for leaf, found in members(member, place).items()}


def differing(ours: Members, theirs: Members) -> set[str]:
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
        return abs(one - other) <= NEAR
    return one == other


def documented() -> dict[str, set[str]]:
    """By the name of a shape, from the page's table, where a row may name several."""
    rows = re.findall(r"^\| (`[^|]+`) \| (.*?) \|", PAGE.read_text(), re.M)
    return {
        name: set(re.findall(r"`([^`]+)`", cell))
        for names, cell in rows
        for name in re.findall(r"`([^`]+)`", names)
        if name in SHAPES
    }


def allowed(shape: Shape) -> set[str]:
    """What the page says of any comparable shape with this path, whole or as a stream.

    A status only where it says that of all of them, as where vLLM has no such route.
    """
    told = documented()
    alike = [
        told.get(name, set())
        for name, known in SHAPES.items()
        if known.path == shape.path
        and bool(known.body.get("stream")) == bool(shape.body.get("stream"))
        and comparable(known) == known
    ]
    paths = set().union(*alike)
    return paths if all("status" in each for each in alike) else paths - {"status"}


def comparable(shape: Shape) -> Shape:
    """The same request for the likeliest tokens, not more than a few if it would be many, with tools that are held to
    their parameters, as Patchbay holds them where they are forced."""
    body = dict(shape.body)
    if shape.path in GREEDY:
        body["temperature"] = 0
    for length in (name for name in LENGTHS if body.get(name)):
        body[length] = body[length] if body[length] <= SHORT else CUT
    if shape.path == "/v1/chat/completions" and not any(body.get(name) for name in LENGTHS):
        body["max_tokens"] = SHORT
    if body.get("tools") and isinstance(body.get("tool_choice"), dict | str):
        body["tools"] = [_strict(tool) for tool in body["tools"]]
    return Shape(shape.path, body)


def _strict(tool: dict[str, Any]) -> dict[str, Any]:
    if "function" in tool:
        return {**tool, "function": {**tool["function"], "strict": True}}
    return {**tool, "strict": True}

"""Requests that are sound, values that are not, and what becomes of the first when the second are put into them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from demo.cases import Case, data_url, draw_cases

PATH = "/v1/chat/completions"
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """Bytes for one connection-less POST."""

    body: bytes
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
    path: str = PATH
    method: str = "POST"


def sound(chance: random.Random) -> dict[str, Any]:
    """A request that would be answered, with few tokens."""
    case = chance.choice(CASES)
    base: dict[str, Any] = {"messages": _messages(case), "max_tokens": 4, "temperature": 0}
    return base | chance.choice(EXTRAS)


def _messages(case: Case) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": data_url(picture, "PNG"), "detail": case.detail}}
        for picture in case.pictures[:2]
    ]
    return [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [*parts, {"type": "text", "text": case.text}]},
    ]


CASES = draw_cases(12, 4242)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"colour": {"type": "string", "pattern": "^[a-z]+$"}, "n": {"type": ["integer", "null"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "look", "description": "looks", "parameters": SCHEMA}}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"colour": "red"}'}}
EXTRAS: tuple[dict[str, Any], ...] = (
    {},
    {"stream": True, "stream_options": {"include_usage": True}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}},
    {"response_format": {"type": "json_object"}},
    {"structured_outputs": {"regex": "(red|blue)+"}},
    {"structured_outputs": {"choice": ["red", "blue"]}},
    {"structured_outputs": {"grammar": 'root ::= "red" | "blue"'}},
    {"tools": [TOOL], "tool_choice": "required"},
    {"tools": [TOOL], "tool_choice": "auto"},
    {
        "messages": [
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "red"},
            {"role": "user", "content": "So?"},
        ]
    },
    {"logprobs": True, "top_logprobs": 5, "n": 2, "temperature": 1, "seed": 7},
    {"stop": ["."], "logit_bias": {"5": 1}, "presence_penalty": 1, "min_tokens": 1},
)


def deep(opening: str, closing: str, count: int, core: str = "") -> str:
    return opening * count + core + closing * count


def hostile(chance: random.Random) -> Any:
    """A value that somebody with bad intentions, or a bad client, would send."""
    if chance.random() < 0.1:
        return chance.choice(WORDS) * chance.randint(1, 50)
    # a copy, in which nothing is shared: what is put into one place must not appear in thousands
    return json.loads(json.dumps(chance.choice(VALUES)()))


def _nested(count: int, core: Any = 1, key: str | None = None) -> Any:
    value = core
    for _ in range(count):
        value = [value] if key is None else {key: value}
    return value


def _grammar_bomb(count: int) -> str:
    lines = [f"r{i} ::= r{i + 1} r{i + 1}" for i in range(count)]
    return "\n".join(["root ::= r0", *lines, f'r{count} ::= "a"'])


WORDS = (
    "<IMG_CONTEXT>", "<img>", "</img>", "<|im_start|>", "<image>", "\\u003cIMG_CONTEXT>", "\ud800", "\x00", "\u202e",
    "😀", "image_url", "function", "user", "tool", "%s%n", "../", "{{", "}}", "$ref", "#/", "file:///etc/passwd",
    "http://127.0.0.1:1/", "http://[::1]/", "http://169.254.169.254/", "http://a b/", "//x",
    "data:image/png;base64,", "data:,", "data:image/png;base64,AAAA", "data:image/gif;base64,R0lGODlhAQABAAAAACw=",
)  # fmt: skip
VALUES = (
    lambda: None,
    lambda: True,
    lambda: 0,
    lambda: -1,
    lambda: 2**63 - 1,
    lambda: -(2**63),
    lambda: 2**64,
    lambda: 10**400,
    lambda: 1e308,
    lambda: 0.1,
    lambda: "",
    lambda: [],
    lambda: {},
    lambda: [None],
    lambda: {"type": "image_url"},
    lambda: {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    lambda: {"type": ["string", "null"]},
    lambda: {"type": {"type": "text"}},
    lambda: {"$ref": "#"},
    lambda: {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    lambda: _nested(30),
    lambda: _nested(60),
    lambda: _nested(40, key="properties"),
    lambda: {"type": "string", "pattern": deep("(", ")", 40_000)},
    lambda: {"type": "string", "pattern": deep("(", ")*", 5_000)},
    lambda: {"type": "string", "pattern": "((a{1,999}){1,999}){1,999}"},
    lambda: {"patternProperties": {deep("(", ")", 20_000): {}}},
    lambda: {"propertyNames": {"pattern": deep("[", "]", 9_000)}},
    lambda: {"type": "array", "minItems": 100_000, "items": {"pattern": "a+"}},
    lambda: {"type": "string", "minLength": 10**9},
    lambda: {"enum": [str(n) for n in range(20_000)]},
    lambda: {"allOf": [{"anyOf": [{"oneOf": [{"type": "string"}] * 20}] * 20}] * 20},
    lambda: {"type": "integer", "minimum": -(10**30), "maximum": 10**30},
    lambda: deep("(", ")", 40_000),
    lambda: "(" * 500,
    lambda: "(a+)+$",
    lambda: "((a{1,99}){1,99}){1,99}",
    lambda: "[",
    lambda: "\\",
    lambda: "root ::= root",
    lambda: "root ::= root root",
    lambda: _grammar_bomb(30),
    lambda: "root ::= " + deep("(", ")", 20_000, '"a"'),
    lambda: deep("[", "]", 200_000),
    lambda: deep('{"a":', "}", 400, "1"),
    lambda: "\\u003cIMG_CONTEXT>",
    lambda: "x" * 100_000,
    lambda: [str(n) for n in range(15_000)],
    lambda: [TOOL] * 300,
)


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """The way to each member of a JSON value."""
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, inner in members:
        yield (*place, key)
        yield from places(inner, (*place, key))


def put(root: Any, place: Place, value: Any, chance: random.Random) -> None:
    """Replaces, removes, doubles or renames what is at a place."""
    *way, last = place
    for step in way:
        root = root[step]
    action = chance.random()
    if action < 0.7:
        root[last] = value
    elif action < 0.8:
        del root[last]
    elif isinstance(root, dict):
        root[str(value)[:50] if action < 0.9 else chance.choice(WORDS)] = root[last]
    else:
        root.insert(0, root[last])


def mutated(chance: random.Random) -> Request:
    """A sound request with up to three things wrong."""
    body = json.loads(json.dumps(sound(chance)))
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
        found = list(places(body))
        put(body, chance.choice(found), hostile(chance), chance) if found else None
    text = json.dumps(body).encode()
    if chance.random() < 0.1:
        text = _cut(text, chance)
    headers = (("content-type", "application/json"),)
    if chance.random() < 0.05:
        headers = chance.choice(HEADERS)
    return Request(text, headers)


def _cut(text: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(text))
    damage = (
        text[:at],
        text[:at] + bytes([chance.randrange(256)]) + text[at:],
        text + text,
        b"\xff\xfe" + text,
        b"",
        b"[" * 100_000,
        b'{"messages":' + b"[" * 5000,
    )
    return chance.choice(damage)


HEADERS = (
    (),
    (("content-type", "text/plain"),),
    (("content-type", "application/json; charset=latin-1"),),
    (("content-type", "application/json"), ("content-encoding", "gzip")),
    (("content-type", "application/json"), ("x-request-id", "x" * 4000)),
    (("content-type", "application/json"), ("traceparent", "00-zz")),
    (("content-type", "application/json"), ("authorization", "Bearer é".encode().decode("latin-1"))),
    tuple((f"x-{n}", "y" * 100) for n in range(60)) + (("content-type", "application/json"),),
)

"""What every client is asked, and how it says what it did. Runs without anything of Patchbay but its folder.

`python -m tests.e2e.clients.asks NAME URL` prints one JSON object: the client's version, what it did, and its answers.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

MODEL = "patchbay-demo"
JPEG = (Path(__file__).parents[3] / "demo" / "scenes" / "shapes.jpg").read_bytes()
BASE64 = base64.b64encode(JPEG).decode()
DATA_URL = f"data:image/jpeg;base64,{BASE64}"
BROKEN = "data:image/png;base64,AAAA"

QUESTION, RED = "What colour is the star?", "red"
FOLLOWING, YES = "Is there a blue circle?", "yes"
SHORT = 128
"""Tokens."""

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": ["red", "blue"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
COLOURS = ("red", "blue")
PAINTED = "Painted."
"""The result of the tool."""

GREEDY = {"temperature": 0}
MANY: dict[str, Any] = {
    "type": "object",
    "properties": {"colours": {"type": "array", "items": {"enum": ["red"]}, "minItems": 400}},
    "required": ["colours"],
    "additionalProperties": False,
}
"""The schema of an answer that takes long, for those that cannot say `ENDLESS`."""
LASTING = {"type": "json_schema", "name": "many", "schema": MANY}
"""The same as Responses has it; LiteLLM drops what is not of this API."""
ENDLESS = {"ignore_eos": True}
LONG = 2000
"""Tokens."""

THINGS = ("image", "stream", "turns", "tool", "structured", "error", "abort")
"""What a client is asked: about an image; the same as a stream; a second question, behind its own answer as the
client returned it; a call of a tool, and words behind its result; an answer by a schema; a broken image, which is
refused in the client's own type with its path; and to leave a long stream at its first event and ask again."""


class Wrong(AssertionError):
    """Another answer than the right one."""


class Ask(NamedTuple):
    package: str
    api: str
    run: Callable[[str], None]
    environment: str = "most"
    """The list in `requirements/` by which it is installed."""


done: list[str] = []
"""What the client did so far."""


def did(thing: str, answer: object = None, *expected: str) -> None:
    """Notes a thing as done if the answer, up to case and a full stop, is among those expected. Raises Wrong."""
    if expected and plain(answer) not in expected:
        raise Wrong(f"{thing}: {answer!r}, where {' or '.join(expected)} was expected")
    done.append(thing)


def painted(answer: object, arguments: object) -> None:
    """The result of a call was answered in words, and its arguments were as the schema says: then a tool is done.
    Raises Wrong."""
    if not plain(answer):
        raise Wrong("tool: no word behind its result")
    did("tool", colour_of(arguments), *COLOURS)


def plain(answer: object) -> str:
    return str(answer).strip().rstrip(".").lower()


@contextmanager
def refused(kind: type[Exception], *words: str) -> Iterator[None]:
    """The block must raise `kind`, whose text has all these words; then an error is done. Raises Wrong."""
    try:
        yield
    except kind as error:
        if missing := [word for word in words if word not in f"{error} {getattr(error, 'body', '')}"]:
            raise Wrong(f"error: {error!r} has no {missing}") from error
        did("error")
    else:
        raise Wrong("error: a broken image was taken")


def key() -> str:
    """None is needed but by the proxy in between."""
    return os.environ.get("CLIENT_KEY", "none")


def user(content: Any) -> list[Any]:
    return [{"role": "user", "content": content}]


def in_chat(url: str = DATA_URL, question: str = QUESTION) -> list[Any]:
    return user([{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}])


def in_responses(url: str = DATA_URL, question: str = QUESTION) -> list[Any]:
    image = {"type": "input_image", "image_url": url, "detail": "auto"}
    return user([image, {"type": "input_text", "text": question}])


def in_messages(data: str = BASE64, media_type: str = "image/jpeg", question: str = QUESTION) -> list[Any]:
    source = {"type": "base64", "media_type": media_type, "data": data}
    return user([{"type": "image", "source": source}, {"type": "text", "text": question}])


def colour_of(arguments: object) -> str:
    """Of a tool's arguments or an answer in JSON, as text or read already."""
    read = json.loads(arguments) if isinstance(arguments, str) else arguments
    if not isinstance(read, dict) or read.keys() != {"colour"}:
        raise Wrong(f"{arguments!r} is not what the schema says")
    return str(read["colour"])

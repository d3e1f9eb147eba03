"""Refusals as sentences for people: the JSON path, what came, what is allowed.

A JSON path reads `messages[0].content[1].image_url.url`.
"""

from __future__ import annotations

import difflib
import json
from functools import reduce
from typing import Any, TypeVar

from pydantic import ValidationError

from service.api.wire import NOT_OFFERED, UNKNOWN_VALUE, Wire
from service.errors import InvalidRequest

W = TypeVar("W", bound=Wire)

MAX_QUOTE = 40
MAX_NAME = 64
MAX_PATH = 512
IMAGE_FORM = 'An image is written {"type": "image_url", "image_url": {"url": "…"}}.'
LIST_OF_FIELDS = "docs/api.md and /openapi.json list the accepted fields"

IN_JSON_WORDS = {
    "list_type": "input should be an array",
    "dict_type": "input should be an object",
    "none_required": "input should be null",
    "too_short": "input should not be empty",
    "string_too_short": "input should not be empty",
}
"""For messages in which pydantic uses Python's terms."""


def checked(kind: type[W], payload: dict[str, Any]) -> W:
    """`payload` as a `kind`; members that mean nothing are taken out of it. Raises InvalidRequest."""
    try:
        return kind.model_validate(payload)
    except ValidationError as error:
        raise invalid_request(error) from None


def invalid_request(error: ValidationError) -> InvalidRequest:
    """The first of pydantic's errors."""
    first = error.errors(include_url=False)[0]
    kind, received = first["type"], first["input"]
    problem = IN_JSON_WORDS.get(kind, first["msg"])
    path = reduce(child, (step for step in first["loc"] if not _is_tag(step)), "")
    if kind == "unknown_field":
        return _unknown_field(path, first["ctx"])
    if kind == "missing":
        return InvalidRequest(f"{path} is required.", param=path)
    if kind == NOT_OFFERED:
        path = child(path, "type")
        return InvalidRequest(f"{path}: {problem}; received {describe(received['type'])}.", param=path)
    if kind.startswith(UNKNOWN_VALUE) and isinstance(received, dict):
        return _unknown_value(path, kind.removeprefix(UNKNOWN_VALUE), problem, received)
    if kind.startswith((UNKNOWN_VALUE, "model_")):
        problem = "input should be an object"
    sentence = f"{problem[:1].lower()}{problem[1:]}; received {describe(received)}."
    return InvalidRequest(f"{path or 'The body'}: {sentence}", param=path or None)


def describe(value: Any) -> str:
    """A JSON value in a few words; long strings are shortened."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"an array of {len(value)}"
    if isinstance(value, str) and len(value) > MAX_QUOTE:
        return f"{json.dumps(value[:MAX_QUOTE])}… ({len(value)} characters)"
    return json.dumps(value)


def child(path: str, key: str | int) -> str:
    """The JSON path of a member or element. Long names are shortened, unusual ones quoted, long paths not extended."""
    if len(path) > MAX_PATH:
        return path
    if isinstance(key, int):
        return f"{path}[{key}]"
    name = key if len(key) <= MAX_NAME else key[:MAX_NAME] + "…"
    if not name.isidentifier():
        return f"{path}[{name!r}]"
    return f"{path}.{name}" if path else name


def _unknown_field(parent: str, context: dict[str, Any]) -> InvalidRequest:
    path = child(parent, context["field"])
    if context["hint"]:
        return InvalidRequest(f"{path} is not accepted: {context['hint']}.", param=path)
    near = difflib.get_close_matches(context["field"][:MAX_NAME], sorted(context["accepted"]))
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    return InvalidRequest(f"{path} is not accepted.{meant} {LIST_OF_FIELDS}.", param=path)


def _unknown_value(parent: str, key: str, allowed: str, received: dict[str, Any]) -> InvalidRequest:
    path = child(parent, key)
    form = f" {IMAGE_FORM}" if "'image_url'" in allowed else ""
    if key not in received:
        return InvalidRequest(f"{path} is required: one of {allowed}.{form}", param=path)
    return InvalidRequest(
        f"{path} should be one of {allowed}; received {describe(received[key])}.{form}", param=path
    )


def _is_tag(step: str | int) -> bool:
    """Tags of unions, and pydantic's mark for a mapping's key."""
    return isinstance(step, str) and (step == "[key]" or (step[:1] == "«" and len(step) <= MAX_NAME))

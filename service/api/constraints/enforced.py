"""Keywords of a schema that xgrammar, the engine's default backend, cannot hold an answer to.

vLLM 0.32 refuses a schema that has one. A schema that is meant strictly is refused here too, but by its path; of any
other, what cannot be enforced is left out where the rest keeps its meaning.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from service.api.sentences import child
from service.errors import InvalidRequest

FORMATS = frozenset(
    {
        *("date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "json-pointer"),
        *("relative-json-pointer", "time", "uri", "uri-reference", "uri-template", "uuid"),
    }
)
_ARRAYS = ("uniqueItems", "contains", "minContains", "maxContains")
_LENGTHS = ("minLength", "maxLength")


def check_enforced(root: Any, path: str) -> None:
    """Raises InvalidRequest for the first keyword that cannot be enforced."""
    pending = [(root, path)]
    while pending:
        value, where = pending.pop()
        if isinstance(value, dict):
            for keyword, reason in (*_droppable(value), *_needed(value)):
                at = child(where, keyword)
                raise InvalidRequest(f"{at}: the engine cannot enforce {keyword}{reason}.", param=at)
            pending.extend((member, child(where, name)) for name, member in value.items())
        elif isinstance(value, list):
            pending.extend((item, child(where, index)) for index, item in enumerate(value))


def enforced_part(root: Any) -> Any:
    """`root` without the keywords that can be left out; the same object when it has none. Not recursive."""
    found = False
    holder = [root]
    pending: list[tuple[Any, Any]] = [(holder, 0)]
    while pending:
        parent, place = pending.pop()
        value = parent[place]
        if isinstance(value, dict):
            dropped = {keyword for keyword, _ in _droppable(value)}
            found = found or bool(dropped)
            parent[place] = kept = {name: member for name, member in value.items() if name not in dropped}
            pending.extend((kept, name) for name in kept)
        elif isinstance(value, list):
            parent[place] = items = list(value)
            pending.extend((items, index) for index in range(len(items)))
    return holder[0] if found else root


def _types(schema: dict[str, Any]) -> set[str]:
    named = schema.get("type")
    names = named if isinstance(named, list) else [named]
    return {name for name in names if isinstance(name, str)}


def _droppable(schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Keywords that can be left out, with what they stand beside: then more is allowed than was asked for."""
    types = _types(schema)
    if types & {"integer", "number"} and "multipleOf" in schema:
        yield "multipleOf", ""
    if "array" in types:
        yield from ((keyword, "") for keyword in _ARRAYS if keyword in schema)
    named = schema.get("format", "date")
    if "string" in types and not (isinstance(named, str) and named in FORMATS):
        yield "format", f"; it knows {', '.join(sorted(FORMATS))}"
    elif "string" in types and ("pattern" in schema or "format" in schema):
        yield from ((keyword, " beside pattern or format") for keyword in _LENGTHS if keyword in schema)
    beside = {"properties", "patternProperties"} & schema.keys()
    if "object" in types and "propertyNames" in schema and (beside or _closed(schema)):
        yield "propertyNames", " beside other keywords for properties"


def _needed(schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Keywords without which the schema would mean something else."""
    patterns, all_of = schema.get("patternProperties"), schema.get("allOf")
    several = isinstance(patterns, dict) and ("properties" in schema or len(patterns) > 1)
    if "object" in _types(schema) and several:
        yield "patternProperties", " beside properties, or more than one of them"
    if isinstance(all_of, list) and len(all_of) > 1:
        yield "allOf", " of more than one schema"


def _closed(schema: dict[str, Any]) -> bool:
    return schema.get("unevaluatedProperties", True) is not True

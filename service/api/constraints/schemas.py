"""A JSON schema before the engine compiles it: what it holds by place, how large that becomes, and whether it ends.

Every schema that a compiler can arrive at is looked at, those behind a `$ref` into any corner included. Not recursive.
What a keyword means beyond its size is for the engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from service.api.constraints.budget import Budget, height
from service.api.constraints.forms import check_form
from service.api.sentences import child, describe
from service.errors import InvalidRequest

MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Keywords whose members are schemas."""
DATA = frozenset({"enum", "const", "default", "discriminator", "examples", "required", "type"})
"""Keywords whose values are no schemas, whatever they look like."""
SAME_VALUE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else")
"""Keywords whose schemas describe the very value that the schema around them describes."""
COUNTS = ("minItems", "maxItems", "minContains", "maxContains", "minProperties", "maxProperties")
LENGTHS = ("minLength", "maxLength")
NODE = 4
"""States of a schema beside its texts, patterns and counts."""
COMPARISONS = 20_000
"""Pairs of values that are compared in the time that one state takes."""
OPTIONAL = 150
"""Pairs of properties, both of which may be left out, that cost one state."""

Schema = dict[str, Any]


def check_schema(root: Any, path: str, budget: Budget, *, compiled: bool = True) -> None:
    """Takes what `root` costs from `budget`. Raises InvalidRequest, which names the member at fault.

    Of a schema that is not `compiled` but only written into the prompt, faults are the client's own business.
    """
    levels = budget.depth(root, path)
    references: dict[int, Schema] = {}
    seen: dict[int, tuple[Schema, str]] = {}
    pending: list[tuple[Any, str]] = [(root, path)]
    while pending:
        schema, where = pending.pop()
        if not isinstance(schema, dict) or id(schema) in seen:
            continue
        seen[id(schema)] = schema, where
        if compiled:
            check_form(schema, where)
        _take(schema, where, budget)
        pending.extend(_inner(schema, where))
        target = _target(root, schema)
        if target is None and "$ref" in schema and compiled:
            raise _dangling(schema["$ref"], child(where, "$ref"))
        if isinstance(target, dict) and id(target) not in references:
            references[id(target)] = target
            levels += height(target)
            budget.chain(levels, path)
            pending.append((target, _place(path, schema["$ref"])))
    if compiled:
        _check_ends(root, seen)


def _take(schema: Schema, path: str, budget: Budget) -> None:
    budget.take(NODE, path)
    for name in _names(schema, "properties"):
        budget.take(len(name), child(child(path, "properties"), name))
    for name in _names(schema, "patternProperties"):
        budget.pattern(name, child(child(path, "patternProperties"), name))
    if isinstance(pattern := schema.get("pattern"), str):
        budget.pattern(pattern, child(path, "pattern"))
    for keyword in ("enum", "const"):
        if keyword in schema:
            budget.values(schema[keyword], child(path, keyword))
    for keyword in COUNTS:
        if isinstance(count := schema.get(keyword), (int, float)):
            budget.count(count, child(path, keyword))
    for keyword in LENGTHS:
        if isinstance(length := schema.get(keyword), (int, float)):
            budget.length(length, child(path, keyword))
    properties, required = _names(schema, "properties"), schema.get("required")
    needed = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
    # behind each property any later one may follow
    budget.take(len(properties.keys() - needed) ** 2 // OPTIONAL, child(path, "properties"))
    if "minProperties" in schema or "maxProperties" in schema:
        # a rule for each property and each number of properties before it
        budget.take(len(properties) ** 2, child(path, "properties"))
    if isinstance(options := schema.get("oneOf"), list):
        # which of them exclude one another is found by comparing all values
        values = len(options) + sum(map(_listed_values, options))
        budget.take(values**2 // COMPARISONS, child(path, "oneOf"))


def _names(schema: Schema, keyword: str) -> Mapping[str, Any]:
    members = schema.get(keyword)
    return members if isinstance(members, dict) else {}


def _listed_values(option: Any) -> int:
    """Values that a schema lists for itself and for its properties."""
    schemas = [option, *_names(option, "properties").values()] if isinstance(option, dict) else []
    lists = [schema.get("enum") for schema in schemas if isinstance(schema, dict)]
    return sum(len(values) for values in lists if isinstance(values, list))


def _inner(schema: Schema, path: str) -> Iterator[tuple[Any, str]]:
    for keyword, value in schema.items():
        at = child(path, keyword)
        if keyword in DATA:
            continue
        if isinstance(value, dict) and keyword not in MAPS:
            yield value, at
        elif isinstance(value, dict):
            yield from ((member, child(at, name)) for name, member in value.items())
        elif isinstance(value, list):
            yield from ((item, child(at, index)) for index, item in enumerate(value))


def _target(root: Any, schema: Schema) -> Any:
    """What a schema's `$ref` names, or None. Only `#` and `#/…` are followed, as compilers do."""
    reference = schema.get("$ref")
    if not isinstance(reference, str) or (reference != "#" and not reference.startswith("#/")):
        return None
    target = root
    for step in filter(None, reference[1:].split("/")):
        unescaped = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(target, dict):
            return None
        target = target.get(step, target.get(unescaped))
    return target


def _place(path: str, reference: str) -> str:
    for step in filter(None, reference[1:].split("/")):
        path = child(path, step)
    return path


def _dangling(reference: Any, path: str) -> InvalidRequest:
    return InvalidRequest(
        f"{path}: {describe(reference)} names no schema. References lead into the same schema: '#', or '#/' and the "
        "names on the way.",
        param=path,
    )


def _check_ends(root: Any, seen: Mapping[int, tuple[Schema, str]]) -> None:
    """Refuses schemas that lead back to themselves without a property or an item on the way."""
    finished: set[int] = set()
    for start, _ in seen.values():
        trail = [] if id(start) in finished else [(start, _same_value(root, start))]
        on_trail = {id(start)}
        while trail:
            schema, leads_to = trail[-1]
            following = next(leads_to, None)
            if following is None:
                finished.add(id(schema))
                on_trail.discard(id(schema))
                trail.pop()
            elif id(following) in on_trail:
                path = seen[id(following)][1]
                raise InvalidRequest(
                    f"{path} refers to itself without a property or an item on the way, so nothing can match it.",
                    param=path,
                )
            elif id(following) not in finished:
                on_trail.add(id(following))
                trail.append((following, _same_value(root, following)))


def _same_value(root: Any, schema: Schema) -> Iterator[Schema]:
    found = [_target(root, schema)]
    for keyword in SAME_VALUE:
        inner = schema.get(keyword)
        found.extend(inner if isinstance(inner, list) else [inner])
    return (each for each in found if isinstance(each, dict))

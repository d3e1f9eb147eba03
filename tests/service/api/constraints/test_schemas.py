"""Ordinary schemas pass; those that would hurt the engine are refused by the member at fault."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from service.api.constraints.budget import Budget, ConstraintLimits, height
from service.api.constraints.schemas import NODE, check_schema
from service.errors import InvalidRequest

Schema = dict[str, Any]


def check(schema: Any, *, compiled: bool = True, **limits: int) -> Budget:
    budget = Budget(ConstraintLimits(**limits))
    check_schema(schema, "s", budget, compiled=compiled)
    return budget


def refused(schema: Any, **limits: int) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as error:
        check(schema, **limits)
    assert error.value.param is not None and error.value.message.startswith(error.value.param)
    return error.value


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Node(BaseModel):
    """A tree."""

    value: int = Field(ge=0, le=100)
    colour: Colour | None = None
    children: list[Node] = Field(default_factory=list, max_length=50)


class Invoice(BaseModel):
    number: str = Field(pattern=r"^[A-Z]{2}-\d{4,10}$", max_length=13)
    currency: Literal["EUR", "USD"]
    lines: list[tuple[str, float]]
    notes: dict[str, str | None] = {}
    root: Node | list[Node]


def wide(count: int) -> Schema:
    properties = {
        f"property_{n}": {"type": ["string", "null"], "description": "x" * 40} for n in range(count)
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        Node.model_json_schema(),
        Invoice.model_json_schema(),
        wide(500),
        {"enum": [f"value {n}" for n in range(1000)]},
        {"type": "object", "properties": {"pattern": {"type": "string"}, "$ref": {"type": "string"}}},
        {"type": "object", "properties": {"a": {"default": {"pattern": "(((", "type": "banana"}}}},
        {"const": {"type": "banana", "$ref": 5}},
        {"type": "string", "maxLength": 10_000},
        {"properties": {f"p{n}": {"type": "string", "maxLength": 20 + n} for n in range(20)}},
        wide(500) | {"required": []},
        {"$defs": {"a/b": {"type": "string"}}, "$ref": "#/$defs/a~1b"},
        {"type": "object", "additionalProperties": {"$ref": "#"}},
    ],
    ids=lambda value: str(value)[:30],
)
def test_ordinary_schemas_pass(schema: Any) -> None:
    check(schema)


PATTERN = {"type": "string", "pattern": "(" * 65 + "a" + ")" * 65}
PLACES: list[tuple[Schema, str]] = [
    (PATTERN, "s.pattern"),
    ({"patternProperties": {PATTERN["pattern"]: True}}, "s.patternProperties["),
    ({"propertyNames": PATTERN}, "s.propertyNames.pattern"),
    ({"properties": {"a": PATTERN}}, "s.properties.a.pattern"),
    ({"additionalProperties": PATTERN}, "s.additionalProperties.pattern"),
    ({"items": [True, PATTERN]}, "s.items[1].pattern"),
    ({"anyOf": [PATTERN]}, "s.anyOf[0].pattern"),
    ({"not": PATTERN}, "s.not.pattern"),
    ({"unheard-of": {"deeper": PATTERN}}, "s['unheard-of'].deeper.pattern"),
    ({"default": PATTERN, "$ref": "#/default"}, "s.default.pattern"),
    ({"const": {"a": PATTERN}, "items": {"$ref": "#/const/a"}}, "s.const.a.pattern"),
]


@pytest.mark.parametrize("schema, path", PLACES, ids=[path for _, path in PLACES])
def test_a_pattern_is_found_wherever_a_compiler_can_come(schema: Schema, path: str) -> None:
    error = refused(schema)
    assert str(error.param).startswith(path)
    assert "more than 64 groups" in error.message


@pytest.mark.parametrize(
    "schema, path, words",
    [
        ({"pattern": "(("}, "s.pattern", "not a regular expression: the group"),
        ({"pattern": "((a{1,128}){1,128}){1,128}"}, "s.pattern", "states"),
        ({"pattern": "a{129}"}, "s.pattern", "129 repetitions are too many; at most 128"),
        ({"type": "array", "minItems": 100_000}, "s.minItems", "100000 repetitions"),
        ({"type": "string", "maxLength": 1e30}, "s.maxLength", "without a fraction"),
        ({"type": "banana"}, "s.type", "'array', 'boolean'"),
        ({"items": {"type": ["string", 5]}}, "s.items.type", "received 5"),
        ({"enum": ["x" * 100] * 1000}, "s.enum", "states"),
        ({"enum": [0] * 5001}, "s.enum", "5001 values; at most 5000"),
        ({"$ref": "#/nowhere"}, "s['$ref']", '"#/nowhere" names no schema'),
        ({"$ref": "https://e.com/schema"}, "s['$ref']", "names no schema"),
        ({"$ref": "#anchor"}, "s['$ref']", "names no schema"),
        ({"$ref": 5}, "s['$ref']", "a string; received 5"),
        ({"$ref": "#"}, "s", "refers to itself"),
        (
            {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
            "s['$defs'].",
            "refers to itself",
        ),
        (
            {"properties": {"a": {"anyOf": [{"$ref": "#/properties/a"}, {}]}}},
            "s.properties.a",
            "refers to itself",
        ),
        ({"minProperties": 1, "properties": {str(n): {} for n in range(210)}}, "s.properties", "states"),
        ({"oneOf": [{"enum": [f"{n}.{m}" for m in range(90)]} for n in range(60)]}, "s.oneOf", "states"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_refused_by_the_member_at_fault(schema: Schema, path: str, words: str) -> None:
    error = refused(schema)
    assert str(error.param).startswith(path) and words in error.message


def test_what_is_only_written_into_the_prompt_may_be_faulty_but_not_large() -> None:
    check({"type": "any", "$ref": "#/nowhere", "items": {"$ref": "#/items"}}, compiled=False)
    with pytest.raises(InvalidRequest, match="states"):
        check({"pattern": "(.{99}){99}"}, compiled=False)


def test_depth() -> None:
    schema: Schema = {}
    for _ in range(63):
        schema = {"items": schema}
    check(schema)
    assert "nested 65 levels deep; at most 64" in refused({"items": schema}).message


def test_a_long_way_along_references_is_refused() -> None:
    def chain(length: int) -> Schema:
        steps = {f"a{n}": {"items": {"$ref": f"#/$defs/a{n + 1}"}} for n in range(length)}
        return {"$defs": {**steps, f"a{length}": {}}, "$ref": "#/$defs/a0"}

    check(chain(40), max_chain=100)
    assert "lead through" in refused(chain(60), max_chain=100).message


def test_all_schemas_of_a_request_share_one_budget() -> None:
    budget = Budget(ConstraintLimits(max_states=10 * NODE))
    for _ in range(10):
        check_schema({}, "s", budget)
    with pytest.raises(InvalidRequest, match="at most 40 are allowed"):
        check_schema({}, "s", budget)


names = st.sampled_from(
    ["a", "b", "properties", "items", "anyOf", "allOf", "$ref", "$defs", "pattern", "type", "enum"]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["#", "#/a", "#/$defs/b", "((", "a*", "string"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(names, values, max_size=4), st.booleans())
def test_any_json_is_measured_or_refused(schema: Schema, compiled: bool) -> None:
    try:
        check(schema, compiled=compiled)
    except InvalidRequest as error:
        assert error.param


@given(values)
def test_height(value: Any) -> None:
    def recursive(item: Any) -> int:
        members = item.values() if isinstance(item, dict) else item if isinstance(item, list) else None
        return 0 if members is None else 1 + max(map(recursive, members), default=0)

    assert height(value) == recursive(value)

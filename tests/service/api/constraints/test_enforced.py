"""Keywords that xgrammar cannot enforce: left out or refused by their path, where vLLM would refuse the schema."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.constraints.enforced import check_enforced, enforced_part
from service.errors import InvalidRequest

Schema = dict[str, Any]
DROPPED: list[tuple[Schema, str]] = [
    ({"type": "integer", "multipleOf": 5}, "multipleOf"),
    ({"type": ["number", "null"], "multipleOf": 0.5}, "multipleOf"),
    ({"type": "array", "uniqueItems": True}, "uniqueItems"),
    ({"type": "array", "contains": {}}, "contains"),
    ({"type": "string", "format": "password"}, "format"),
    ({"type": "string", "pattern": "a*", "maxLength": 3}, "maxLength"),
    ({"type": "string", "format": "date", "minLength": 3}, "minLength"),
    ({"type": "object", "properties": {}, "propertyNames": {"pattern": "a"}}, "propertyNames"),
]
NEEDED: list[tuple[Schema, str]] = [
    ({"allOf": [{}, {}]}, "allOf"),
    ({"type": "object", "properties": {}, "patternProperties": {"a": {}}}, "patternProperties"),
    ({"type": "object", "patternProperties": {"a": {}, "b": {}}}, "patternProperties"),
]


@pytest.mark.parametrize("schema, keyword", DROPPED + NEEDED)
def test_a_strict_schema_is_refused_by_the_keyword(schema: Schema, keyword: str) -> None:
    with pytest.raises(InvalidRequest, match=f"cannot enforce {keyword}") as error:
        check_enforced({"properties": {"a": {"items": [schema]}}}, "s")
    assert error.value.param == f"s.properties.a.items[0].{keyword}"


@pytest.mark.parametrize("schema, keyword", DROPPED)
def test_any_other_schema_loses_the_keyword(schema: Schema, keyword: str) -> None:
    outer = {"properties": {"a": schema}, "description": "kept"}
    assert enforced_part(outer) == {
        **outer,
        "properties": {"a": {k: v for k, v in schema.items() if k != keyword}},
    }
    assert keyword in schema


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "a"},
        {"type": "string", "format": "date-time"},
        {"type": "string", "maxLength": 3},
        {"allOf": [{}]},
        {"type": "object", "propertyNames": {"pattern": "a"}},
        {"type": "object", "properties": {"multipleOf": {"type": "integer"}}},
    ],
)
def test_what_can_be_enforced_stays(schema: Schema) -> None:
    check_enforced(schema, "s")
    assert enforced_part(schema) is schema


keywords = st.sampled_from(
    [
        "type",
        "multipleOf",
        "uniqueItems",
        "format",
        "pattern",
        "minLength",
        "properties",
        "propertyNames",
        "allOf",
    ]
    + ["patternProperties", "unevaluatedProperties", "items", "anyOf"]
)
values = st.recursive(
    st.booleans()
    | st.sampled_from(["string", "integer", "array", "object", "date", "x"])
    | st.just(["string", "object"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keywords, inner, max_size=4),
    max_leaves=15,
)


@pytest.mark.e2e
@given(st.dictionaries(keywords, values, max_size=5))
def test_vllm_agrees(schema: Schema) -> None:
    backend = pytest.importorskip("vllm.v1.structured_output.backend_xgrammar")
    part = enforced_part(schema)
    try:
        check_enforced(part, "s")
    except InvalidRequest:
        return
    assert not backend.has_xgrammar_unsupported_json_features(part)

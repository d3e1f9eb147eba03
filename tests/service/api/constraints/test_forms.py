"""Keywords whose values have another form are refused where they stand, before the engine sees them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.constraints.budget import Budget, ConstraintLimits
from service.api.constraints.forms import ANYWHERE, OF_TYPE, TYPES, check_form
from service.api.constraints.schemas import check_schema
from service.errors import InvalidRequest
from tests.service.api.hostile import anything

GOOD: dict[str, Any] = {
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), 1),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), 0),
    **dict.fromkeys(("items", "unevaluatedItems", "additionalProperties", "unevaluatedProperties"), False),
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), [{}, True]),
    **dict.fromkeys(("properties", "patternProperties"), {"a": {}, "b": True}),
    **dict.fromkeys(("propertyNames",), {"pattern": "a"}),
    "$ref": "#",
    "enum": [None],
    "pattern": "a",
    "required": ["a"],
}
BAD: dict[str, list[Any]] = {
    **dict.fromkeys(("minimum", "exclusiveMaximum"), [None, True, "1", 2**63, -(2**64), 1e300, 1.5]),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxProperties"), [None, True, -1, 1.0, "1", []]),
    **dict.fromkeys(("items", "additionalProperties"), [None, 1, "a", [{}]]),
    **dict.fromkeys(("anyOf", "prefixItems"), [None, {}, [1], ["a"], True]),
    **dict.fromkeys(("properties", "patternProperties"), [None, [], True, {"a": None}, {"a": 1}]),
    "$ref": [None, 1, {}],
    "enum": [None, [], {}, "a"],
    "pattern": [None, 1, {}],
    "propertyNames": [None, True],
    "required": [None, {}, True, [1], "a"],
}


def types_of(keyword: str) -> list[str]:
    return [name for name, forms in OF_TYPE.items() if keyword in forms]


def test_every_keyword_has_a_good_value_here() -> None:
    assert GOOD.keys() == ANYWHERE.keys() | {name for forms in OF_TYPE.values() for name in forms}
    for keyword, value in GOOD.items():
        check_form({"type": types_of(keyword) or "string", keyword: value}, "s")


@pytest.mark.parametrize("keyword", BAD)
def test_another_form_is_refused_by_its_place(keyword: str) -> None:
    for value in BAD[keyword]:
        kinds = types_of(keyword)
        schema = {"type": "object", "properties": {"a": {"type": kinds or "null", keyword: value}}}
        with pytest.raises(InvalidRequest) as refused:
            check_schema(schema, "s", Budget(ConstraintLimits()))
        at = f"s.properties.a{'.' if keyword.isidentifier() else ''}"
        at += keyword if keyword.isidentifier() else f"['{keyword}']"
        assert refused.value.param == at and refused.value.message.startswith(f"{at} should be ")


def test_a_number_may_have_a_fraction_where_it_is_no_integer() -> None:
    check_form({"type": "number", "minimum": -0.5, "exclusiveMaximum": 1e300}, "s")
    check_form({"type": "integer", "minimum": 1.0, "maximum": 2**63 - 1024}, "s")


@pytest.mark.parametrize("keyword", BAD)
def test_what_the_type_does_not_read_may_have_any_form(keyword: str) -> None:
    if keyword in ANYWHERE:
        return
    others = [name for name in TYPES if name not in types_of(keyword)]
    for value in BAD[keyword]:
        check_form({"type": others, keyword: value}, "s")
        check_form({keyword: value}, "s")


def test_a_discriminator_is_no_schema() -> None:
    kinds = {"enum": "#/$defs/A", "type": "#/$defs/A"}
    schema = {"$defs": {"A": {}}, "discriminator": {"propertyName": "kind", "mapping": kinds}}
    check_schema(schema, "s", Budget(ConstraintLimits()))


@given(st.dictionaries(st.sampled_from([*GOOD, "type"]), anything(GOOD, TYPES)))
def test_any_json(schema: dict[str, Any]) -> None:
    try:
        check_form(schema, "s")
    except InvalidRequest as refused:
        assert (refused.param or "").startswith("s")

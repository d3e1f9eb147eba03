"""What the values of a schema's keywords look like, where the engine reads them.

xgrammar reads a keyword only in schemas of the types that it is about, and says of a bad value neither where it stands
nor, of a negative length, that it is the client's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from service.api.sentences import child, describe
from service.errors import InvalidRequest

TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
LONGEST = 2.0**63
"""Beyond the integers that the engine compares with."""


@dataclass(frozen=True, slots=True)
class Form:
    name: str
    fits: Callable[[Any], bool]


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _whole(value: Any) -> bool:
    return _number(value) and float(value).is_integer() and -LONGEST <= value < LONGEST


def _schema(value: Any) -> bool:
    return isinstance(value, (dict, bool))


NUMBER = Form("a number", _number)
WHOLE = Form("a whole number of 64 bits", _whole)
COUNT = Form("a whole number, 0 or more, without a fraction", lambda value: type(value) is int and value >= 0)
STRING = Form("a string", lambda value: isinstance(value, str))
STRINGS = Form(
    "an array of strings",
    lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
)
VALUES = Form("an array of values, at least one", lambda value: isinstance(value, list) and len(value) > 0)
OBJECT = Form("an object", lambda value: isinstance(value, dict))
SCHEMA = Form("a schema: an object or a boolean", _schema)
SCHEMAS = Form("an array of schemas", lambda value: isinstance(value, list) and all(map(_schema, value)))
NAMED = Form(
    "an object of schemas", lambda value: isinstance(value, dict) and all(map(_schema, value.values()))
)

BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
ANYWHERE: Mapping[str, Form] = {
    "$ref": STRING,
    "enum": VALUES,
    **dict.fromkeys(("allOf", "anyOf", "oneOf"), SCHEMAS),
}
OF_TYPE: Mapping[str, Mapping[str, Form]] = {
    "integer": dict.fromkeys(BOUNDS, WHOLE),
    "number": dict.fromkeys(BOUNDS, NUMBER),
    "string": {**dict.fromkeys(("minLength", "maxLength"), COUNT), "pattern": STRING},
    "array": {
        **dict.fromkeys(("minItems", "maxItems"), COUNT),
        **dict.fromkeys(("items", "unevaluatedItems"), SCHEMA),
        "prefixItems": SCHEMAS,
    },
    "object": {
        **dict.fromkeys(("minProperties", "maxProperties"), COUNT),
        **dict.fromkeys(("properties", "patternProperties"), NAMED),
        **dict.fromkeys(("additionalProperties", "unevaluatedProperties"), SCHEMA),
        "propertyNames": OBJECT,
        "required": STRINGS,
    },
}


def check_form(schema: Mapping[str, Any], path: str) -> None:
    """Of `schema` itself, not of those in it. Raises InvalidRequest, which names the keyword."""
    for keyword, form in (*ANYWHERE.items(), *_of_types(schema, path)):
        if keyword in schema and not form.fits(schema[keyword]):
            at = child(path, keyword)
            raise InvalidRequest(
                f"{at} should be {form.name}; received {describe(schema[keyword])}.", param=at
            )


def _of_types(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, Form]]:
    named = schema.get("type", "null")
    for name in named if isinstance(named, list) else [named]:
        if name not in TYPES:
            at = child(path, "type")
            raise InvalidRequest(
                f"{at} should be one of {', '.join(map(repr, TYPES))}, or an array of these; received "
                f"{describe(name)}.",
                param=at,
            )
        yield from OF_TYPE.get(name, {}).items()

"""What all parts of a request body have in common: strict types, and no fields but the listed ones.

Members that mean nothing are taken out of the client's own objects, so that nothing but listed fields is forwarded.

The discriminators choose the one alternative that a value is meant to be, so that an error is about that alternative
and not about all of them. Their tags are written between « and », by which `sentences` recognises and drops them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    FailFast,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Tag,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, PydanticOmit, core_schema

SHAPES: dict[type, str] = {str: "string", list: "array", dict: "object"}


class _First(FailFast):
    """Stops at the first bad element, since only one error is reported. Hashable, so that a union can hold it."""

    def __hash__(self) -> int:
        return hash(self.fail_fast)


First = _First()

UNKNOWN_VALUE = "unknown_value:"
"""Prefix of an error's type. The discriminating key follows it; the error's message lists the key's allowed values."""
NOT_OFFERED = "not_offered"
"""An error's type: an object is refused for its `type`; the error's message is the reason."""


class Wire(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    refused: ClassVar[Mapping[str, str]] = {}
    """Fields that some clients send, and the hint that they get. Null is taken for absence."""
    harmless: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """Values of refused fields that ask for nothing, and are taken for absence too."""
    ignored: ClassVar[frozenset[str]] = frozenset()
    """Fields that are accepted without effect, whatever their value."""

    @model_validator(mode="before")
    @classmethod
    def _listed_fields_only(cls, value: Any) -> Any:
        if isinstance(value, dict) and not value.keys() <= (accepted := accepted_fields(cls)):
            for name in [name for name in value if name not in accepted]:
                if not cls._means_nothing(name, value[name]):
                    context = {"field": name, "accepted": accepted, "hint": cls.refused.get(name, "")}
                    raise PydanticCustomError("unknown_field", "field is not accepted", context)
                del value[name]
        return value

    @classmethod
    def _means_nothing(cls, name: str, value: Any) -> bool:
        if name in cls.ignored:
            return True
        return name in cls.refused and (
            value is None or any(_same(value, nothing) for nothing in cls.harmless.get(name, ()))
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler.resolve_ref_schema(handler(core))
        listed = schema.setdefault("properties", {})
        for name in sorted(cls.ignored):
            listed.setdefault(name, {"description": "Accepted without effect."})
        for name, hint in sorted(cls.refused.items()):
            nothing = {"enum": [None, *cls.harmless.get(name, ())], "description": f"Not accepted: {hint}."}
            listed.setdefault(name, nothing)
        return schema


@cache
def accepted_fields(model: type[Wire]) -> frozenset[str]:
    return frozenset(info.alias or name for name, info in model.model_fields.items())


def _same(value: Any, other: Any) -> bool:
    """Equal as JSON values, among which 1 is 1.0 but not true."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _whole(value: Any) -> Any:
    if type(value) is float and value.is_integer() and -(2.0**63) <= value < 2.0**63:
        return int(value)
    return value


def _wholes(value: Any) -> Any:
    if isinstance(value, list) and float in map(type, value):
        return [_whole(item) for item in value]
    return value


Whole = BeforeValidator(_whole)
"""Takes an integer that is written with a fraction of zero: to JSON, 16.0 is 16."""
Wholes = BeforeValidator(_wholes)
"""The same for an array of integers, without a call for each."""


def by_value(key: str, *values: str, default: str | None = None, others: str | None = None) -> Discriminator:
    """Chooses among objects by the string under `key`; each alternative is tagged `tag(value)`.

    Where the key is absent or null it is taken for `default`; any other string chooses the alternative `others`, for
    which see `NotOffered`.
    """

    def choose(value: Any) -> str | None:
        if not isinstance(value, dict):
            return None
        found = default if value.get(key) is None else value[key]
        if not isinstance(found, str):
            return None
        chosen = found if found in values else others
        return None if chosen is None else tag(chosen)

    return Discriminator(
        choose,
        # these belong in a context, but a dict would make the type unhashable, and unions must be hashable
        custom_error_type=UNKNOWN_VALUE + key,
        custom_error_message=", ".join(repr(value) for value in values),
    )


@dataclass(frozen=True)
class NotOffered:
    """Marks the alternative `others` of a union: objects whose `type` is none of those that are offered are refused."""

    reason: str
    reasons: tuple[tuple[str, str], ...] = ()
    """Those of single types; `reason` is that of all others."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._refuse)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        raise PydanticOmit

    def _refuse(self, value: Any) -> Any:
        reason = dict(self.reasons).get(value["type"], self.reason)
        raise PydanticCustomError(NOT_OFFERED, reason)


def by_shape(*shapes: str) -> Discriminator:
    """Chooses among a string, an array and an object; each alternative is tagged `tag(shape)`."""

    def choose(value: Any) -> str | None:
        shape = SHAPES.get(type(value), "")
        return tag(shape) if shape in shapes else None

    return Discriminator(
        choose,
        custom_error_type="wrong_shape",
        custom_error_message="input should be "
        + " or ".join(f"{article(shape)} {shape}" for shape in shapes),
    )


def article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


def tag(name: str) -> str:
    return f"«{name}»"


Json = dict[str, Any]
Others = Tag(tag("others"))
Strings = Annotated[list[str], First]

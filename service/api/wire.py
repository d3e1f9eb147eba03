"""What all parts of a request body have in common: strict types, and no fields but the listed ones.

The discriminators choose the one alternative that a value is meant to be, so that an error is about that alternative
and not about all of them. Their tags are written between « and », by which `sentences` recognises and drops them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Discriminator, FailFast, model_validator
from pydantic_core import PydanticCustomError

SHAPES: dict[type, str] = {str: "string", list: "array", dict: "object"}


class _First(FailFast):
    """Stops at the first bad element, since only one error is reported. Hashable, so that a union can hold it."""

    def __hash__(self) -> int:
        return hash(self.fail_fast)


First = _First()

UNKNOWN_VALUE = "unknown_value:"
"""Prefix of an error's type. The discriminating key follows it; the error's message lists the key's allowed values."""


class Wire(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    refused: ClassVar[Mapping[str, str]] = {}
    """Fields that some clients send, and the hint that they get."""

    @model_validator(mode="before")
    @classmethod
    def _listed_fields_only(cls, value: Any) -> Any:
        if isinstance(value, dict):
            accepted = _accepted(cls)
            for name in value:
                if name not in accepted:
                    context = {
                        "field": name,
                        "accepted": ", ".join(accepted),
                        "hint": cls.refused.get(name, ""),
                    }
                    raise PydanticCustomError("unknown_field", "field is not accepted", context)
        return value


@cache
def _accepted(model: type[Wire]) -> tuple[str, ...]:
    return tuple(sorted(info.alias or name for name, info in model.model_fields.items()))


def by_value(key: str, *values: str) -> Discriminator:
    """Chooses among objects by the string under `key`; each alternative is tagged `tag(value)`."""

    def choose(value: Any) -> str | None:
        found = value.get(key) if isinstance(value, dict) else None
        return tag(found) if isinstance(found, str) and found in values else None

    return Discriminator(
        choose,
        # these belong in a context, but a dict would make the type unhashable, and unions must be hashable
        custom_error_type=UNKNOWN_VALUE + key,
        custom_error_message=", ".join(repr(value) for value in values),
    )


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
Strings = Annotated[list[str], First]

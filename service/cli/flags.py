"""Command-line flags made from the settings, so that each setting is declared once."""

from __future__ import annotations

import argparse
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from service.settings import EMBEDDED_MODEL, ENV_PREFIX, Settings

POSITIONAL = "model"


def add_settings(parser: argparse.ArgumentParser) -> None:
    """One flag per setting, `model` as the positional argument; absent flags do not appear in the namespace."""
    parser.add_argument(
        POSITIONAL,
        nargs="?",
        metavar="MODEL",
        default=argparse.SUPPRESS,
        help=_help("model", Settings.model_fields["model"]),
    )
    group = parser.add_argument_group(
        "settings", "each can also be set by its environment variable, which the flag overrides"
    )
    for name, info in Settings.model_fields.items():
        if name != POSITIONAL:
            _add_flag(group, name, info)


def given(namespace: argparse.Namespace) -> dict[str, Any]:
    """The settings among the parsed arguments."""
    return {name: value for name, value in vars(namespace).items() if name in Settings.model_fields}


def is_switch(info: FieldInfo) -> bool:
    """Whether a setting is a boolean, whose flag takes no value."""
    return info.annotation in (bool, bool | None)


def shown_default(info: FieldInfo) -> str:
    """A setting's default as the help and the docs print it; empty where the description states it."""
    value = info.default
    if value is None or value is PydanticUndefined or value == () or value == EMBEDDED_MODEL:
        return ""
    return str(value)


def _add_flag(group: argparse._ArgumentGroup, name: str, info: FieldInfo) -> None:
    flag = f"--{name.replace('_', '-')}"
    if is_switch(info):
        group.add_argument(
            flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=_help(name, info)
        )
    else:
        metavar = name.rpartition("_")[2].upper()
        group.add_argument(flag, default=argparse.SUPPRESS, metavar=metavar, help=_help(name, info))


def _help(name: str, info: FieldInfo) -> str:
    default = shown_default(info)
    text = f"{info.description} [{ENV_PREFIX}{name.upper()}" + (f", default {default}]" if default else "]")
    return text.replace("%", "%%")


__all__ = ["add_settings", "given", "is_switch", "shown_default"]

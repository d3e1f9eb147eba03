"""The table of all settings, as Markdown: `python -m service.cli.reference > docs/settings.md`."""

from __future__ import annotations

from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from service.cli.flags import shown_default
from service.settings import ENV_PREFIX, Settings

HEAD = """# Settings

Each setting is a flag of `patchbay serve` and `patchbay check`, and an environment variable, which the flag
overrides. A variable that begins with `PATCHBAY_` and is not in this table is refused, and so are combinations that
cannot work. This page is made by `make docs`.

| flag | variable | default | meaning |
|---|---|---|---|
"""


def table() -> str:
    return HEAD + "".join(_row(name, info) for name, info in Settings.model_fields.items())


def _row(name: str, info: FieldInfo) -> str:
    flag = "`MODEL`" if name == "model" else f"`--{name.replace('_', '-')}`"
    if info.annotation is bool:
        flag = f"`--[no-]{name.replace('_', '-')}`"
    default = shown_default(info)
    choices = ""
    if get_origin(info.annotation) is Literal:
        choices = f" One of {', '.join(f'`{choice}`' for choice in get_args(info.annotation))}."
    meaning = f"{info.description}{choices}"
    return f"| {flag} | `{ENV_PREFIX}{name.upper()}` | {f'`{default}`' if default else ''} | {meaning} |\n"


if __name__ == "__main__":
    print(table(), end="")

"""The pages that are made from code, as Markdown on standard output.

`python -m service.cli.reference > docs/settings.md`, `… metrics > docs/metrics.md`, `… api > docs/api.md`; `… openapi`
prints the OpenAPI document of the API as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Literal, get_args, get_origin

from prometheus_client import CollectorRegistry
from pydantic.fields import FieldInfo

from service.api.openapi import document
from service.cli.api_page import api_page
from service.cli.flags import is_switch, shown_default
from service.settings import ENV_PREFIX, Settings
from service.telemetry.catalogue import STAGES, TOTAL
from service.telemetry.metrics import Family, Metrics

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
    if is_switch(info):
        flag = f"`--[no-]{name.replace('_', '-')}`"
    default = shown_default(info)
    choices = ""
    if get_origin(info.annotation) is Literal:
        choices = f" One of {', '.join(f'`{choice}`' for choice in get_args(info.annotation))}."
    meaning = f"{info.description}{choices}"
    return f"| {flag} | `{ENV_PREFIX}{name.upper()}` | {f'`{default}`' if default else ''} | {meaning} |\n"


METRICS_HEAD = """# Metrics

`GET /metrics` answers in Prometheus's text format, or OpenMetrics where it is asked for. `GET /metrics/engine` gives
vLLM's own metrics under their own names (`vllm:…`), as vLLM writes them; it answers 503 while the engine is down, late
or too long-winded, and `/metrics` never depends on it. Both are on `port`, or on `admin_port` alone where that is set.
Gateway and encoder are one process, so there is one registry: each replica is scraped by itself. This page is made by
`make docs`.

| metric | type | labels | unit | meaning |
|---|---|---|---|---|
"""
STAGES_HEAD = f"""
## Stages

Every request to a model is in one stage at every instant, from its first byte to its last, also when it fails, is
cancelled or streams. Its stages therefore sum to `{TOTAL}`. Images are worked on side by side: what counts is the one
that the request waited for.

| stage | meaning |
|---|---|
"""
# by the last such word of a metric's name
UNITS = {
    "seconds": "seconds",
    "bytes": "bytes",
    "pixels": "pixels",
    "patches": "patches",
    "tokens": "soft tokens",
}


def metrics_page() -> str:
    rows = "".join(_metric(family) for family in Metrics(CollectorRegistry()).families)
    stages = "".join(f"| `{stage}` | {meaning} |\n" for stage, meaning in STAGES.items())
    return METRICS_HEAD + rows + STAGES_HEAD + stages


def _metric(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    words = family.name.removesuffix("_total").split("_")
    unit = next((UNITS[word] for word in reversed(words) if word in UNITS), "")
    return f"| `{family.name}` | {family.kind} | {labels} | {unit} | {family.meaning} |\n"


def openapi() -> str:
    return json.dumps(document(), indent=2) + "\n"


PAGES = {"settings": table, "metrics": metrics_page, "api": api_page, "openapi": openapi}

if __name__ == "__main__":
    print(PAGES[sys.argv[1] if len(sys.argv) > 1 else "settings"](), end="")

"""The operator's bounds on what one request may ask for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from service.api.limits import RequestLimits
from service.api.sampling.fields import SamplingFields
from service.errors import InvalidRequest

COMPILED_FIELDS = ("tools", "response_format", "structured_outputs")


def check_caps(
    fields: SamplingFields, payload: Mapping[str, Any], limits: RequestLimits, lengths: tuple[str, ...]
) -> None:
    """`lengths` are the fields that bound the answer. Raises InvalidRequest."""
    check_cap("n", fields.n, limits.max_choices, "answers")
    for name in (*lengths, "min_tokens"):
        check_cap(name, getattr(fields, name), limits.max_output_tokens, "tokens")
    check_cap("stop", len(fields.stop) if isinstance(fields.stop, list) else 0, limits.max_stop, "strings")
    for name in COMPILED_FIELDS:
        size = len(json.dumps(payload[name])) if payload.get(name) is not None else 0
        check_cap(name, size, limits.max_schema_bytes, "bytes of JSON")


def check_cap(name: str, value: int | None, most: int, unit: str) -> None:
    """Raises InvalidRequest."""
    if value is not None and value > most:
        raise InvalidRequest(f"{name}: {value} {unit} are too many; at most {most} are allowed.", param=name)

"""What the engine gets of a request: the client's own values, except where it needs other words for them.

Members without effect are not in the payload any more: `Wire` takes them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.api.constraints.enforced import enforced_part
from service.api.limits import RequestLimits
from service.api.sampling.fields import NO_EFFECT, JsonSchemaFormat, SamplingFields

GREEDY_BELOW = 1e-5
"""Temperatures that vLLM takes for 0."""


def forwarded(
    payload: Mapping[str, Any], fields: SamplingFields, limits: RequestLimits, lengths: tuple[str, ...]
) -> dict[str, Any]:
    """`lengths` are the fields that bound the answer."""
    # null means the default for every field of OpenAI's, but not for every field of vLLM's
    given = {name: value for name, value in payload.items() if value is not None and name not in NO_EFFECT}
    changes = [
        _integers(given, fields),
        _several_greedy_answers(fields),
        _within({name: getattr(fields, name) for name in lengths}, limits.context),
    ]
    if limits.xgrammar:
        changes.append(_enforced(given, fields))
    for change in changes:
        given |= change
    return given


def _integers(given: Mapping[str, Any], fields: SamplingFields) -> dict[str, Any]:
    """Integers that came as numbers with a fraction of zero."""
    floats = (name for name, value in given.items() if isinstance(value, float))
    return {name: value for name in floats if isinstance(value := getattr(fields, name), int)}


def _several_greedy_answers(fields: SamplingFields) -> dict[str, Any]:
    """Temperature 0 several times over, which vLLM refuses: only the likeliest token may be drawn."""
    if (fields.n or 1) == 1 or fields.temperature is None or fields.temperature >= GREEDY_BELOW:
        return {}
    return {"temperature": 1.0, "top_k": 1, "top_p": 1.0, "min_p": 0.0}


def _within(bounds: Mapping[str, int | None], context: int | None) -> dict[str, Any]:
    """A bound beyond the context, lowered to it. vLLM lowers every other bound to what the prompt leaves free."""
    return {name: context for name, most in bounds.items() if context and most is not None and most > context}


def _enforced(given: Mapping[str, Any], fields: SamplingFields) -> dict[str, Any]:
    """Schemas that are not meant strictly, without what the engine would refuse them for."""
    if isinstance(fields.response_format, JsonSchemaFormat) and not fields.response_format.json_schema.strict:
        asked = given["response_format"]
        schema = enforced_part(asked["json_schema"]["schema"])
        return {"response_format": {**asked, "json_schema": {**asked["json_schema"], "schema": schema}}}
    return {}

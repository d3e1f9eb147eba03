"""What the engine gets of a chat request: the client's own values, except where it needs other words for them.

Members without effect are not in the payload any more: `Wire` takes them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.api.chat.fields import NO_EFFECT, ChatFields, JsonSchemaFormat
from service.api.constraints.enforced import enforced_part
from service.api.limits import RequestLimits

GREEDY_BELOW = 1e-5
"""Temperatures that vLLM takes for 0."""


def forwarded(payload: Mapping[str, Any], fields: ChatFields, limits: RequestLimits) -> dict[str, Any]:
    # null means the default for every field of OpenAI's, but not for every field of vLLM's
    given = {name: value for name, value in payload.items() if value is not None and name not in NO_EFFECT}
    changes = [
        _integers(given, fields),
        _several_greedy_answers(fields),
        _within(fields, limits.context),
        _continued(fields),
    ]
    if limits.xgrammar:
        changes.append(_enforced(given, fields))
    for change in changes:
        given |= change
    return given


def _integers(given: Mapping[str, Any], fields: ChatFields) -> dict[str, Any]:
    """Integers that came as numbers with a fraction of zero."""
    floats = (name for name, value in given.items() if isinstance(value, float))
    return {name: value for name in floats if isinstance(value := getattr(fields, name), int)}


def _several_greedy_answers(fields: ChatFields) -> dict[str, Any]:
    """Temperature 0 several times over, which vLLM refuses: only the likeliest token may be drawn."""
    if (fields.n or 1) == 1 or fields.temperature is None or fields.temperature >= GREEDY_BELOW:
        return {}
    return {"temperature": 1.0, "top_k": 1, "top_p": 1.0, "min_p": 0.0}


def _within(fields: ChatFields, context: int | None) -> dict[str, Any]:
    """A bound beyond the context, lowered to it. vLLM lowers every other bound to what the prompt leaves free."""
    bounds = {name: getattr(fields, name) for name in ("max_tokens", "max_completion_tokens")}
    return {name: context for name, most in bounds.items() if context and most is not None and most > context}


def _continued(fields: ChatFields) -> dict[str, Any]:
    """vLLM's default would begin a new message."""
    return {"add_generation_prompt": False} if fields.continue_final_message else {}


def _enforced(given: Mapping[str, Any], fields: ChatFields) -> dict[str, Any]:
    """Schemas that are not meant strictly, without what the engine would refuse them for."""
    if isinstance(fields.response_format, JsonSchemaFormat) and not fields.response_format.json_schema.strict:
        asked = given["response_format"]
        schema = enforced_part(asked["json_schema"]["schema"])
        return {"response_format": {**asked, "json_schema": {**asked["json_schema"], "schema": schema}}}
    return {}

"""The body of a completion → `ChatRequest`: allow-list, types, ranges and caps."""

from __future__ import annotations

from collections.abc import Sequence

from service.api.chat.schema import json_object, served_model
from service.api.completions.fields import CompletionFields
from service.api.constraints.check import check_constraints
from service.api.limits import RequestLimits
from service.api.sampling.caps import check_cap, check_caps
from service.api.sampling.companions import check_least, check_sampling
from service.api.sampling.forwarded import forwarded
from service.api.sentences import checked
from service.domain import ANYBODY, Caller, ChatRequest, Route
from service.errors import InvalidRequest

LENGTHS = ("max_tokens",)
DEFAULT_LENGTH = 16
"""OpenAI's and vLLM's `max_tokens` where a request has none."""


def parse_completion(
    body: bytes,
    limits: RequestLimits,
    *,
    models: Sequence[str] = (),
    request_id: str = "",
    caller: Caller = ANYBODY,
) -> ChatRequest:
    """Raises InvalidRequest, and ModelNotFound for a name that is not among `models`."""
    payload = json_object(body, limits)
    fields = checked(CompletionFields, payload)
    check_caps(fields, payload, limits, LENGTHS)
    check_cap("logprobs", fields.logprobs, limits.max_top_logprobs, "alternatives")
    _check_answers(fields, limits)
    check_sampling(fields)
    check_least(fields, "max_tokens", fields.max_tokens or DEFAULT_LENGTH)
    check_constraints(fields, limits)
    model = served_model(fields.model, models, caller)
    return ChatRequest(
        payload=forwarded(payload, fields, limits, LENGTHS) | {"model": model},
        images=(),
        model=model,
        stream=bool(fields.stream),
        include_usage=bool(fields.stream_options and fields.stream_options.include_usage),
        request_id=request_id,
        caller=caller,
        route=Route.COMPLETION,
    )


def _check_answers(fields: CompletionFields, limits: RequestLimits) -> None:
    """Each prompt is a request of its own to the engine."""
    answers = fields.prompts * (fields.n or 1)
    if answers > limits.max_choices:
        raise InvalidRequest(
            f"prompt: {fields.prompts} prompts with n = {fields.n or 1} ask for {answers} answers; at most "
            f"{limits.max_choices} are allowed.",
            param="prompt",
        )

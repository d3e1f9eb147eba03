"""What the engine gets of a chat request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.api.chat.fields import ChatFields
from service.api.limits import RequestLimits
from service.api.sampling.forwarded import forwarded

LENGTHS = ("max_tokens", "max_completion_tokens")


def forwarded_chat(payload: Mapping[str, Any], fields: ChatFields, limits: RequestLimits) -> dict[str, Any]:
    given = forwarded(payload, fields, limits, LENGTHS)
    given["messages"] = [_without_nulls(message) for message in given["messages"]]
    if fields.continue_final_message:
        # vLLM's default would begin a new message
        given["add_generation_prompt"] = False
    if fields.forces_a_call and limits.xgrammar:
        given["tools"] = [_held_to_its_parameters(tool) for tool in given["tools"]]
    return given


def _without_nulls(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """vLLM takes a `name` that is null for a wrong one."""
    if None not in message.values():
        return message
    return {name: value for name, value in message.items() if value is not None}


def _held_to_its_parameters(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """A tool whose call, where it is forced, has arguments by the tool's schema, unless `strict` says otherwise.

    vLLM 0.32 would take any JSON as the arguments of a tool that leaves `strict` out, as several clients do.
    """
    function = tool["function"]
    if function.get("strict") is not None or function.get("parameters") is None:
        return tool
    return {**tool, "function": {**function, "strict": True}}

"""The response object: what was asked, echoed, and how the answer stands."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

from service.api.completion import compact
from service.api.responses.fields import ResponsesFields
from service.api.translation.pieces import Ending

ECHOED = ("instructions", "max_output_tokens", "temperature", "top_p", "top_logprobs")
"""Members of the request that are returned as they came, or null."""
ECHOED_IF_SHORT = ("prompt_cache_key", "safety_identifier", "user")
"""The same, but nothing else bounds them, and a stream says them three times and holds them until they are read."""
MOST_ECHOED = 64 * 1024
"""Bytes of JSON of each of them, and of `metadata`."""
WHY_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class ResponseObject:
    """One response from its creation to its end."""

    def __init__(self, asked: Mapping[str, Any], fields: ResponsesFields, model: str) -> None:
        """`asked` is the request's body as it came."""
        effort = fields.reasoning.effort if fields.reasoning else None
        metadata = _short(asked.get("metadata"))
        self._members: dict[str, Any] = {
            "id": f"resp_{uuid.uuid4().hex}",
            "object": "response",
            "created_at": int(time.time()),
            "background": False,
            "error": None,
            "model": model,
            **{name: asked.get(name) for name in ECHOED},
            **{name: _short(asked.get(name)) for name in ECHOED_IF_SHORT},
            "max_tool_calls": None,
            "metadata": metadata if isinstance(metadata, dict) else {},
            "parallel_tool_calls": fields.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": {"effort": effort, "summary": None},
            "service_tier": "default",
            "store": False,
            "text": asked.get("text") or {"format": {"type": "text"}},
            "tool_choice": asked.get("tool_choice") or "auto",
            "tools": asked.get("tools") or [],
            "truncation": "disabled",
        }

    def begun(self) -> dict[str, Any]:
        return {
            **self._members,
            "status": "in_progress",
            "incomplete_details": None,
            "output": [],
            "usage": None,
        }

    def ended(self, output: list[dict[str, Any]], ending: Ending) -> dict[str, Any]:
        why = WHY_INCOMPLETE.get(ending.reason)
        return {
            **self._members,
            "status": status_of(ending),
            "incomplete_details": None if why is None else {"reason": why},
            "completed_at": int(time.time()) if why is None else None,
            "output": output,
            "usage": _usage(ending),
        }


def _short(value: Any) -> Any:
    return value if value is None or len(compact(value)) <= MOST_ECHOED else None


def status_of(ending: Ending) -> str:
    return "incomplete" if ending.reason in WHY_INCOMPLETE else "completed"


def _usage(ending: Ending) -> dict[str, Any]:
    details = ending.usage.get("completion_tokens_details") or {}
    images = {
        name: ending.details[name]
        for name in ("image_tokens", "image_detail", "images")
        if name in ending.details
    }
    return {
        "input_tokens": ending.count("prompt_tokens"),
        "input_tokens_details": {"cached_tokens": ending.cached, "cache_write_tokens": 0, **images},
        "output_tokens": ending.count("completion_tokens"),
        "output_tokens_details": {"reasoning_tokens": details.get("reasoning_tokens") or 0},
        "total_tokens": ending.count("prompt_tokens") + ending.count("completion_tokens"),
    }

"""Reads the events of a chat completion into a `Reply`."""

from __future__ import annotations

import json
from typing import Any

from loadtests.checks import Reply


def take_event(reply: Reply, data: str, at: float) -> bool:
    """Records one event that arrived `at` milliseconds after the request was due; true if it contained text.

    A reasoning model's thoughts count as text. An event may contain several tokens: gaps are measured between events,
    as a reader of the stream perceives them.
    """
    if data == "[DONE]":
        reply.done = True
        return False
    try:
        event = json.loads(data)
    except ValueError:
        reply.failure = f"an event is not JSON: {data[:60]!r}"
        return False
    if error := event.get("error"):
        reply.code = str(error.get("code") or error.get("type") or "error in the stream")
        return False
    reply.usage = event.get("usage") or reply.usage
    words = "".join(_words(reply, choice) for choice in event.get("choices") or ())
    if not words:
        return False
    if reply.first is None:
        reply.first = at
    elif reply.last is not None:
        reply.gaps.append(at - reply.last)
    reply.last = at
    return True


def take_error(reply: Reply, body: bytes) -> None:
    """Records the error code of an answer that is not 200."""
    try:
        error = json.loads(body)["error"]
        reply.code = str(error.get("code") or error.get("type") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        reply.code = "no OpenAI error object"


def _words(reply: Reply, choice: dict[str, Any]) -> str:
    delta = choice.get("delta") or {}
    reply.finish = choice.get("finish_reason") or reply.finish
    content = delta.get("content") or ""
    reply.text += content
    return content or delta.get("reasoning_content") or delta.get("reasoning") or ""

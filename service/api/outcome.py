"""What an answer came to, read from the engine's bytes as they pass: token counts and why it ended.

Numbers and known words only: whatever else an answer holds is content, and is not looked at.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from service.api.usage import DATA, MARK

ENDED = b'"finish_reason":"'
"""vLLM writes null until the end. Within a text the quotes are escaped, so that this cannot be somebody's words."""
REASONS = frozenset({"stop", "length", "tool_calls", "function_call", "content_filter", "abort", "error"})
ODD = "other"
COUNTED = ("prompt_tokens", "completion_tokens")


@dataclass(slots=True)
class Outcome:
    usage: dict[str, int] = field(default_factory=dict)
    """`prompt_tokens`, `completion_tokens`, `cached_tokens`, as far as the engine counted them."""
    finish_reasons: list[str] = field(default_factory=list)
    """One for each answer that ended, in the order in which they did."""

    def frame(self, frame: bytes) -> None:
        """One server-sent event of a completion stream."""
        if frame.startswith(DATA) and (MARK in frame or ENDED in frame):
            self.body(frame.removeprefix(DATA))

    def body(self, body: bytes) -> None:
        """A JSON completion. Anything else is passed over."""
        try:
            completion = json.loads(body)
        except ValueError:
            return
        if isinstance(completion, dict):
            self._choices(completion.get("choices"))
            self._usage(completion.get("usage"))

    def _choices(self, choices: Any) -> None:
        for choice in choices if isinstance(choices, list) else ():
            reason = choice.get("finish_reason") if isinstance(choice, dict) else None
            if isinstance(reason, str):
                self.finish_reasons.append(reason if reason in REASONS else ODD)

    def _usage(self, usage: Any) -> None:
        if not isinstance(usage, dict):
            return
        counted = {name: usage.get(name) for name in COUNTED}
        details = usage.get("prompt_tokens_details")
        if isinstance(details, dict):
            counted["cached_tokens"] = details.get("cached_tokens")
        self.usage |= {name: count for name, count in counted.items() if type(count) is int}

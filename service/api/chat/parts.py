"""How many parts the messages of any dialect have, counted before their types are checked."""

from __future__ import annotations

from typing import Any

WITH_PARTS = ("content", "output", "summary", "tool_calls")
"""Members of messages and items, in one dialect or another, that are arrays of parts."""


def count_parts(message: Any) -> int:
    """Parts and calls of tools in a message; of a tool's result within a message, its own parts too."""
    parts = _parts(message)
    return len(parts) + sum(len(_parts(part)) for part in parts)


def _parts(value: Any) -> list[Any]:
    if not isinstance(value, dict):
        return []
    arrays = [members for name in WITH_PARTS if isinstance(members := value.get(name), list)]
    return [part for members in arrays for part in members]

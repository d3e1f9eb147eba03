"""Keeps what users write from becoming vision tokens: placeholder theft.

A tokenizer turns the text `<IMG_CONTEXT>` into the very token that stands for an image. Each such text in messages
and tools is broken by a zero-width space after its first character, so that it stays text. Knows no family: the
texts are given.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

ZERO_WIDTH_SPACE = "\u200b"
_FIELDS = ("messages", "tools")
_NOT_TEXT = frozenset({"image_url", "image_embeds"})
"""Parts that never reach the tokenizer as text, and may be megabytes long."""


def neutralise(payload: Mapping[str, Any], placeholders: Sequence[str]) -> Mapping[str, Any]:
    """`payload` with every placeholder text in it broken; the same object when there is none.

    Text parts of one message are looked at together, because chat templates write them one after the other, and so
    are the JSON texts of tool-call arguments, which the engine parses. Raises ValueError for a placeholder that a
    zero-width space cannot break.
    """
    if any(len(text) < 2 or ZERO_WIDTH_SPACE in text for text in placeholders):
        raise ValueError(f"placeholders are two characters or longer, without U+200B: {list(placeholders)!r}")
    if not placeholders:
        return payload
    breaker = _Breaker(placeholders)
    changed = {
        field: new
        for field in _FIELDS
        if field in payload and (new := breaker.value(payload[field])) is not payload[field]
    }
    return {**payload, **changed} if changed else payload


class _Breaker:
    """Each method returns the very object it was given when nothing in it needs breaking."""

    def __init__(self, placeholders: Sequence[str]) -> None:
        self._placeholders = placeholders
        # a lookahead also finds occurrences that overlap
        self._pattern = re.compile(f"(?={'|'.join(map(re.escape, placeholders))})")

    def value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._joined([value])[0]
        if isinstance(value, Mapping):
            return self._mapping(value)
        if isinstance(value, list):
            return self._list(value)
        return value

    def _joined(self, texts: list[str]) -> list[str]:
        """The texts, broken wherever a placeholder begins in their concatenation."""
        whole = "".join(texts)
        if not any(placeholder in whole for placeholder in self._placeholders):
            return texts
        breaks = [match.start() + 1 for match in self._pattern.finditer(whole)]
        pieces, begin = [], 0
        for text in texts:
            end = begin + len(text)
            edges = [begin, *breaks[bisect_right(breaks, begin) : bisect_right(breaks, end)], end]
            pieces.append(ZERO_WIDTH_SPACE.join(whole[a:b] for a, b in pairwise(edges)))
            begin = end
        return pieces

    def _mapping(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        if value.get("type") in _NOT_TEXT:
            return value
        items = [(self.value(name), self._member(name, member)) for name, member in value.items()]
        same = all(a is c and b is d for (a, b), (c, d) in zip(items, value.items(), strict=True))
        return value if same else dict(items)

    def _member(self, name: str, member: Any) -> Any:
        if name != "arguments" or not isinstance(member, str):
            return self.value(member)
        try:
            parsed = json.loads(member)
            broken = self.value(parsed)
        except (ValueError, RecursionError):
            return self.value(member)
        return member if broken is parsed else json.dumps(broken, ensure_ascii=False)

    def _list(self, value: list[Any]) -> list[Any]:
        new = [self.value(item) for item in value]
        places = [(index, name) for index, item in enumerate(new) if (name := _text_field(item))]
        texts = [new[index][name] for index, name in places]
        for (index, name), old, text in zip(places, texts, self._joined(texts), strict=True):
            if text != old:
                new[index] = {**new[index], name: text}
        return value if all(a is b for a, b in zip(new, value, strict=True)) else new


def _text_field(part: Any) -> str | None:
    """Which member of a content part the chat template writes."""
    if isinstance(part, Mapping):
        for name in ("text", "refusal"):
            if isinstance(part.get(name), str):
                return name
    return None

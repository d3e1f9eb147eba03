"""Keeps what users write from becoming vision tokens: placeholder theft.

A tokenizer turns the text `<IMG_CONTEXT>` into the very token that stands for an image. Each such text that can reach
the prompt is broken by a zero-width space after its first character, so that it stays text. What is not text follows
from its place, never from its own claims: image parts are in `messages[].content` and nowhere else.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from service.errors import InvalidRequest

ZERO_WIDTH_SPACE = "\u200b"
NEVER_IN_A_PROMPT = frozenset({"model", "stop", "bad_words", "structured_outputs"})
"""Fields of a request that no chat template can write: names, and what only the answer is held against."""


def neutralise(payload: Mapping[str, Any], placeholders: Sequence[str]) -> Mapping[str, Any]:
    """`payload` with every placeholder text in it broken; the same object when there is none.

    Text parts of one message are looked at together, because chat templates write them one after the other. So are the
    values in tool-call arguments, which are JSON in a string that the engine parses.

    Raises ValueError for a placeholder that a zero-width space cannot break, InvalidRequest for arguments that are
    nested too deeply to be parsed.
    """
    if any(len(text) < 2 or ZERO_WIDTH_SPACE in text for text in placeholders):
        raise ValueError(f"placeholders are two characters or longer, without U+200B: {list(placeholders)!r}")
    if not placeholders:
        return payload
    breaker = _Breaker(placeholders)
    broken = {
        name: value if name in NEVER_IN_A_PROMPT else breaker.value(value)
        for name, value in payload.items()
        if name != "messages"
    }
    if "messages" in payload:
        broken["messages"] = [
            breaker.message(message, f"messages[{row}]") for row, message in enumerate(payload["messages"])
        ]
    return broken if breaker.found else payload


class _Breaker:
    """Makes copies in which placeholders are broken; `found` tells whether there were any."""

    def __init__(self, placeholders: Sequence[str]) -> None:
        self.found = False
        self._placeholders = placeholders
        # a lookahead also finds occurrences that overlap
        self._pattern = re.compile(f"(?={'|'.join(map(re.escape, placeholders))})")

    def message(self, message: Mapping[str, Any], path: str) -> dict[str, Any]:
        content = message.get("content")
        if not isinstance(content, list):
            return self._with_arguments(self.value(message), path)
        rest = self.value({name: member for name, member in message.items() if name != "content"})
        return {**self._with_arguments(rest, path), "content": self._parts(content)}

    def value(self, value: Any) -> Any:
        """A copy of any JSON, names and texts broken. Not recursive: how deep JSON is, is for its sender to say."""
        root = [value]
        pending: list[tuple[Any, Any]] = [(root, 0)]
        while pending:
            parent, place = pending.pop()
            old = parent[place]
            if isinstance(old, str):
                parent[place] = self._text(old)
            elif isinstance(old, Mapping):
                parent[place] = new = {self._text(name): member for name, member in old.items()}
                pending.extend((new, name) for name in new)
            elif isinstance(old, list):
                parent[place] = items = list(old)
                pending.extend((items, index) for index in range(len(items)))
        return root[0]

    def _parts(self, parts: list[Any]) -> list[Any]:
        """The parts of one message; those that are images are left as they are."""
        new = [part if _is_image(part) else self.value(part) for part in parts]
        places = [(index, name) for index, part in enumerate(new) if (name := _text_field(part))]
        texts = self._joined([new[index][name] for index, name in places])
        for (index, name), text in zip(places, texts, strict=True):
            new[index][name] = text
        return new

    def _with_arguments(self, message: dict[str, Any], path: str) -> dict[str, Any]:
        """`message`, which is our own copy, with what its tool calls' arguments mean broken too."""
        calls = message.get("tool_calls")
        for index, call in enumerate(calls if isinstance(calls, list) else ()):
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict) and isinstance(function.get("arguments"), str):
                where = f"{path}.tool_calls[{index}].function.arguments"
                function["arguments"] = self._arguments(function["arguments"], where)
        return message

    def _arguments(self, text: str, path: str) -> str:
        values = _Breaker(self._placeholders)
        try:
            broken = values.value(json.loads(text))
            if not values.found:
                return text
            self.found = True
            return json.dumps(broken, ensure_ascii=False)
        except RecursionError:
            raise InvalidRequest(f"{path} is JSON that is nested too deeply.", param=path) from None
        except ValueError:
            return text

    def _text(self, text: str) -> str:
        return self._joined([text])[0]

    def _joined(self, texts: list[str]) -> list[str]:
        """The texts, broken wherever a placeholder begins in their concatenation."""
        whole = "".join(texts)
        if not any(placeholder in whole for placeholder in self._placeholders):
            return texts
        self.found = True
        breaks = [match.start() + 1 for match in self._pattern.finditer(whole)]
        pieces, begin = [], 0
        for text in texts:
            end = begin + len(text)
            edges = [begin, *breaks[bisect_right(breaks, begin) : bisect_right(breaks, end)], end]
            pieces.append(ZERO_WIDTH_SPACE.join(whole[a:b] for a, b in pairwise(edges)))
            begin = end
        return pieces


def _is_image(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "image_url"


def _text_field(part: Any) -> str | None:
    """Which member of a content part the chat template writes."""
    if isinstance(part, Mapping) and not _is_image(part):
        for name in ("text", "refusal"):
            if isinstance(part.get(name), str):
                return name
    return None

"""Builds the messages of a chat request, and notes where each of them came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.api.translation.origins import Origins

Message = dict[str, Any]


class Conversation:
    """Messages in order, each with its parts; the paths given along are those of the client's own request."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._paths: list[tuple[int, str, str]] = []
        """(index of a message, path within it, the client's own path)"""
        self._thoughts: dict[int, list[str]] = {}
        """By message. Joined once: a string that grows by each of many pieces is copied as often."""

    def __len__(self) -> int:
        return len(self._messages)

    def begin(self, role: str, path: str, **members: Any) -> Message:
        """A new message. Whatever is added goes to the last one."""
        message: Message = {"role": role, "content": [], **members}
        self._messages.append(message)
        self._came_from(path)
        return message

    def last(self, role: str, path: str) -> Message:
        """The last message if it is of this role, else a new one."""
        if self._messages and self._messages[-1]["role"] == role:
            return self._messages[-1]
        return self.begin(role, path)

    def text(self, text: str, path: str) -> None:
        self._part({"type": "text", "text": text}, path)

    def refusal(self, text: str, path: str) -> None:
        self._part({"type": "refusal", "refusal": text}, path)

    def image(self, url: str, path: str, detail: str | None = None) -> None:
        """`path` is that of its URL or bytes."""
        image = {"url": url} if detail is None else {"url": url, "detail": detail}
        place = self._part({"type": "image_url", "image_url": image}, path)
        self._came_from(path, f"{place}.image_url")
        self._came_from(path, f"{place}.image_url.url")

    def reasoning(self, text: str) -> None:
        self._thoughts.setdefault(len(self._messages) - 1, []).append(text)

    def call(self, id: str, name: str, arguments: str, path: str, member: str) -> None:
        """A call of a function; its arguments are in `member` of `path`."""
        calls = self._messages[-1].setdefault("tool_calls", [])
        place = f".tool_calls[{len(calls)}]"
        self._came_from(path, place)
        self._came_from(f"{path}.{member}", f"{place}.function.arguments")
        calls.append({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})

    def messages(self, system: Sequence[str], origins: Origins) -> list[Message]:
        """All of them after the system prompt, for most chat templates know only one, at the beginning."""
        first = [{"role": "system", "content": "\n\n".join(system)}] if system else []
        for index, place, path in self._paths:
            origins.add(f"messages[{index + len(first)}]{place}", path)
        for index, texts in self._thoughts.items():
            self._messages[index]["reasoning"] = "".join(texts)
        return [*first, *map(_plain, self._messages)]

    def _part(self, part: dict[str, Any], path: str) -> str:
        content = self._messages[-1]["content"]
        place = f".content[{len(content)}]"
        self._came_from(path, place)
        content.append(part)
        return place

    def _came_from(self, path: str, place: str = "") -> None:
        self._paths.append((len(self._messages) - 1, place, path))


def _plain(message: Message) -> Message:
    """A single text as a string, which every chat template can write; no content as none."""
    content = message["content"]
    if len(content) == 1 and content[0]["type"] == "text":
        return {**message, "content": content[0]["text"]}
    if not content:
        return {**message, "content": None if message["role"] == "assistant" else ""}
    return message

"""The output of a response: its items as they grow, and the events by which a client follows that.

An answer in one piece is the same growth, of which nobody reads the events.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

from service.api.translation.pieces import Arguments, Call, Piece, Reasoning, Text

Event = dict[str, Any]
Item = dict[str, Any]


class Output:
    def __init__(self) -> None:
        self.items: list[Item] = []
        """Complete after `close`."""
        self._open: _Growing | None = None

    def add(self, piece: Piece) -> Iterator[Event]:
        if self._open is None or not isinstance(piece, self._open.takes):
            yield from self._close("completed")
            yield from self._begin(piece)
        if self._open is not None and not isinstance(piece, Call):
            yield from self._open.grow(piece)

    def close(self, status: str) -> Iterator[Event]:
        """`status`: completed or incomplete. An answer without any item becomes a message without text."""
        if not self.items:
            yield from self._begin(Text(""))
        yield from self._close(status)

    def _begin(self, piece: Piece) -> Iterator[Event]:
        index = len(self.items)
        opened = self._open = _growing(piece, index)
        self.items.append(opened.item)
        yield {"type": "response.output_item.added", "output_index": index, "item": opened.item}
        yield from opened.began()

    def _close(self, status: str) -> Iterator[Event]:
        if self._open is None:
            return
        yield from self._open.close(status)
        self.items[-1] = self._open.item
        yield {
            "type": "response.output_item.done",
            "output_index": len(self.items) - 1,
            "item": self._open.item,
        }
        self._open = None


class _Growing(ABC):
    """An item that is being written."""

    takes: ClassVar[type[Piece]]
    """The pieces that it grows by."""

    def __init__(self, index: int, prefix: str, **members: Any) -> None:
        self._index = index
        self._texts: list[str] = []
        self.item: Item = {"id": f"{prefix}_{uuid.uuid4().hex}", "status": "in_progress", **members}

    def began(self) -> Iterator[Event]:
        yield from ()

    @abstractmethod
    def grow(self, piece: Any) -> Iterator[Event]: ...

    @abstractmethod
    def close(self, status: str) -> Iterator[Event]:
        """`item` is complete afterwards."""

    def _event(self, kind: str, **members: Any) -> Event:
        where = {"item_id": self.item["id"], "output_index": self._index}
        return {"type": f"response.{kind}", **where, **members}


class _Message(_Growing):
    takes = Text

    def __init__(self, index: int) -> None:
        super().__init__(index, "msg", type="message", role="assistant", content=[])
        self._logprobs: list[Any] = []

    def began(self) -> Iterator[Event]:
        yield self._event("content_part.added", content_index=0, part=_output_text("", []))

    def grow(self, piece: Any) -> Iterator[Event]:
        self._texts.append(piece.text)
        self._logprobs += piece.logprobs
        logprobs = list(piece.logprobs)
        yield self._event("output_text.delta", content_index=0, delta=piece.text, logprobs=logprobs)

    def close(self, status: str) -> Iterator[Event]:
        part = _output_text("".join(self._texts), self._logprobs)
        yield self._event(
            "output_text.done", content_index=0, text=part["text"], logprobs=list(self._logprobs)
        )
        yield self._event("content_part.done", content_index=0, part=part)
        self.item = {**self.item, "status": status, "content": [part]}


class _Reasoning(_Growing):
    takes = Reasoning

    def __init__(self, index: int) -> None:
        super().__init__(index, "rs", type="reasoning", summary=[], content=[])

    def began(self) -> Iterator[Event]:
        yield self._event("content_part.added", content_index=0, part=_reasoning_text(""))

    def grow(self, piece: Any) -> Iterator[Event]:
        self._texts.append(piece.text)
        yield self._event("reasoning_text.delta", content_index=0, delta=piece.text)

    def close(self, status: str) -> Iterator[Event]:
        part = _reasoning_text("".join(self._texts))
        yield self._event("reasoning_text.done", content_index=0, text=part["text"])
        yield self._event("content_part.done", content_index=0, part=part)
        self.item = {**self.item, "status": status, "content": [part]}


class _FunctionCall(_Growing):
    takes = Arguments

    def __init__(self, index: int, call: Call) -> None:
        super().__init__(index, "fc", type="function_call", call_id=call.id, name=call.name, arguments="")

    def grow(self, piece: Any) -> Iterator[Event]:
        self._texts.append(piece.text)
        yield self._event("function_call_arguments.delta", delta=piece.text)

    def close(self, status: str) -> Iterator[Event]:
        arguments = "".join(self._texts)
        yield self._event("function_call_arguments.done", name=self.item["name"], arguments=arguments)
        self.item = {**self.item, "status": status, "arguments": arguments}


def _growing(piece: Piece, index: int) -> _Growing:
    match piece:
        case Call():
            return _FunctionCall(index, piece)
        case Reasoning():
            return _Reasoning(index)
        case _:
            return _Message(index)


def _output_text(text: str, logprobs: list[Any]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _reasoning_text(text: str) -> dict[str, Any]:
    return {"type": "reasoning_text", "text": text}

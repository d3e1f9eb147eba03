"""The content of an answer: its blocks as they grow, and the events by which a client follows that.

An answer in one piece is the same growth, of which nobody reads the events.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json

from service.api.translation.pieces import Arguments, Call, Piece, Reasoning, Text

Event = dict[str, Any]
Block = dict[str, Any]

UNSIGNED = "unsigned"
"""Signature of what was thought: clients want one in order to send it back, and nobody here looks at it."""
TAKES: dict[str, type[Piece]] = {"text": Text, "thinking": Reasoning, "tool_use": Arguments}


class Content:
    def __init__(self) -> None:
        self.blocks: list[Block] = []
        """Complete after `close`."""
        self._open = False
        self._texts: list[str] = []
        """Of the open block."""

    def add(self, piece: Piece) -> Iterator[Event]:
        if not self._open or not isinstance(piece, TAKES[self.blocks[-1]["type"]]):
            yield from self._close()
            yield from self._begin(_empty(piece))
        if not isinstance(piece, Call):
            self._texts.append(piece.text)
            yield self._delta(_grown(piece))

    def close(self) -> Iterator[Event]:
        """An answer without any block becomes an empty text."""
        if not self.blocks:
            yield from self._begin(_empty(Text("")))
        yield from self._close()

    @property
    def calls(self) -> bool:
        """Whether a tool is to be used."""
        return any(block["type"] == "tool_use" for block in self.blocks)

    def _begin(self, block: Block) -> Iterator[Event]:
        self.blocks.append(block)
        self._open, self._texts = True, []
        yield {"type": "content_block_start", "index": len(self.blocks) - 1, "content_block": block}

    def _close(self) -> Iterator[Event]:
        if not self._open:
            return
        block = self.blocks[-1] = _complete(self.blocks[-1], "".join(self._texts))
        if block["type"] == "thinking":
            yield self._delta({"type": "signature_delta", "signature": UNSIGNED})
        yield {"type": "content_block_stop", "index": len(self.blocks) - 1}
        self._open = False

    def _delta(self, delta: dict[str, Any]) -> Event:
        return {"type": "content_block_delta", "index": len(self.blocks) - 1, "delta": delta}


def _empty(piece: Piece) -> Block:
    match piece:
        case Call(id, name):
            return {"type": "tool_use", "id": id, "name": name, "input": {}}
        case Reasoning():
            return {"type": "thinking", "thinking": "", "signature": ""}
        case _:
            return {"type": "text", "text": ""}


def _grown(piece: Reasoning | Text | Arguments) -> dict[str, Any]:
    match piece:
        case Reasoning(text):
            return {"type": "thinking_delta", "thinking": text}
        case Arguments(text):
            return {"type": "input_json_delta", "partial_json": text}
        case Text(text):
            return {"type": "text_delta", "text": text}


def _complete(block: Block, text: str) -> Block:
    match block["type"]:
        case "tool_use":
            return {**block, "input": _input(text)}
        case "thinking":
            return {**block, "thinking": text, "signature": UNSIGNED}
        case _:
            return {**block, "text": text}


def _input(arguments: str) -> dict[str, Any]:
    """An object in any case, as clients expect: what the model wrote otherwise is in its member `arguments`."""
    try:
        value = from_json(arguments or "{}", allow_inf_nan=False)
        json.dumps(value, allow_nan=False)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"arguments": arguments}

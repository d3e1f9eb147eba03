"""The engine's answer as a sequence of pieces, the same for an answer in one piece and for one that streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.api.completion import Completion
from service.errors import EngineFailed

BROKEN_OFF = frozenset({"abort", "error"})
"""Finish reasons of answers that are no answers."""


@dataclass(frozen=True, slots=True)
class Reasoning:
    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """Without a text where only tokens are told that show nothing, such as the one that ends an answer."""

    text: str
    logprobs: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function begins; its arguments follow."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """More of the arguments of the call before: a piece of JSON."""

    text: str


Piece = Reasoning | Text | Call | Arguments


@dataclass(slots=True)
class Ending:
    """How an answer ended."""

    reason: str = ""
    """The engine's `finish_reason`; empty as long as it is not known."""
    stop: str | None = None
    """The stop sequence that ended it."""
    usage: Mapping[str, Any] = field(default_factory=dict)
    """The engine's `usage`, images counted."""

    def count(self, name: str) -> int:
        value = self.usage.get(name)
        return value if isinstance(value, int) else 0

    @property
    def details(self) -> Mapping[str, Any]:
        return self.usage.get("prompt_tokens_details") or {}

    @property
    def cached(self) -> int:
        """Prompt tokens that were found in the prefix cache."""
        return self.details.get("cached_tokens") or 0


class PieceReader:
    """Reads completions and chunks of them alike. `ending` is complete after the last."""

    def __init__(self) -> None:
        self.ending = Ending()
        self._call: int | None = None
        """The engine's number of the call that is being written: it writes one after the other."""
        self._held: list[Piece] = []
        """What else it says meanwhile; it follows after the call."""
        self._silent: tuple[Any, ...] = ()
        """Log probabilities of tokens without a text so far: halves of a letter, and what may begin a stop sequence."""
        self._in_text = False
        """Whether a text is what was said last."""

    def read(self, answer: Completion) -> Iterator[Piece]:
        """Raises EngineFailed for what is no completion or chunk of one, and when the engine broke off."""
        try:
            chunk = answer.members or {}
            if (usage := chunk.get("usage")) is not None:
                self.ending.usage = usage
            for choice in chunk["choices"]:
                yield from self._pieces(choice)
        except (KeyError, TypeError, AttributeError):
            raise EngineFailed("The engine's answer has an unexpected form.") from None

    def _pieces(self, choice: Mapping[str, Any]) -> Iterator[Piece]:
        said = choice["delta"] if "delta" in choice else choice["message"]
        words = list(self._words(said, choice.get("logprobs") or {}))
        if self._call is None:
            yield from words
        else:
            self._held += words
        for place, call in enumerate(said.get("tool_calls") or ()):
            number, function = call.get("index", place), call.get("function") or {}
            if number != self._call and function.get("name"):
                yield from self._release()
                self._call, self._in_text, self._silent = number, False, ()
                yield Call(call["id"], function["name"])
            if number == self._call and function.get("arguments"):
                yield Arguments(function["arguments"])
        if reason := choice.get("finish_reason"):
            if reason in BROKEN_OFF:
                raise EngineFailed("The engine broke off its answer.")
            yield from self._release()
            if self._silent and self._in_text:
                yield Text("", self._silent)
            self._silent = ()
            stop = choice.get("stop_reason")
            self.ending.reason, self.ending.stop = reason, stop if isinstance(stop, str) else None

    def _release(self) -> list[Piece]:
        held, self._held, self._call = self._held, [], None
        return held

    def _words(self, said: Mapping[str, Any], logprobs: Mapping[str, Any]) -> Iterator[Piece]:
        told = logprobs.get("content") or ()
        if thought := said.get("reasoning") or said.get("reasoning_content"):
            yield Reasoning(thought)
            self._in_text, self._silent = False, ()
        if text := said.get("content"):
            yield Text(text, (*self._silent, *told))
            self._in_text, self._silent = True, ()
        elif not thought and not said.get("tool_calls"):
            self._silent += tuple(told)

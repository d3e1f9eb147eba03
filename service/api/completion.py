"""The engine's answer as it passes through: parsed once, its outcome read, Patchbay's figures added, written once.

A completion is an answer in one piece, an event one piece of a streamed answer. Whatever gets nothing added leaves as
the bytes that came, and nothing is added where the engine counted nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from service.api.details import MEMBER, details_of
from service.domain import ImageUsage, Record

DATA, END = b"data: ", b"\n\n"
USAGE, FINISHED = b'"usage"', b'"finish_reason":"'
"""What an event that is worth parsing contains. vLLM writes a finish reason of null until the end, and the quotes of
generated text are escaped, so that neither can be a part of it."""
REASONS = frozenset({"stop", "length", "tool_calls", "function_call", "content_filter", "abort", "error"})
ODD = "other"
COUNTED = ("prompt_tokens", "completion_tokens")
ENGINE_COUNT = "multimodal_tokens"
"""Where vLLM counts the prompt tokens of images; it is given no other media."""
ENVELOPE = ("id", "object", "created", "model")
"""Members that have the same value in every chunk of an answer."""


@dataclass(slots=True)
class Outcome:
    """How a request ended: token counts and finish reasons. Numbers and known words only, never content."""

    usage: dict[str, int] = field(default_factory=dict)
    """`prompt_tokens`, `completion_tokens`, `cached_tokens`, as far as the engine counted them."""
    finish_reasons: list[str] = field(default_factory=list)
    """One for each choice that has ended, in the order in which they ended."""

    def add(self, completion: Mapping[str, Any]) -> None:
        """Takes in what a completion, or a chunk of one, says."""
        choices, usage = completion.get("choices"), completion.get("usage")
        for choice in choices if isinstance(choices, list) else ():
            reason = choice.get("finish_reason") if isinstance(choice, dict) else None
            if isinstance(reason, str):
                self.finish_reasons.append(reason if reason in REASONS else ODD)
        if isinstance(usage, dict):
            self._count(usage)

    def _count(self, usage: Mapping[str, Any]) -> None:
        counted = {name: usage.get(name) for name in COUNTED}
        details = usage.get("prompt_tokens_details")
        if isinstance(details, dict):
            counted["cached_tokens"] = details.get("cached_tokens")
        self.usage |= {name: count for name, count in counted.items() if type(count) is int}


class Completion:
    """A JSON completion or a chunk of one. Bytes that are no JSON object pass unchanged."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._changed = False

    @cached_property
    def members(self) -> dict[str, Any] | None:
        """Parsed when first asked for; None when the bytes are no JSON object."""
        return _object(self._body)

    def tell(self, outcome: Outcome) -> None:
        """Adds what the engine says of the end to `outcome`."""
        outcome.add(self.members or {})

    def count_images(self, images: Sequence[ImageUsage]) -> None:
        """Adds the soft tokens of the images, and each one's sizes, to the engine's `usage`, if it has one.

        They take the place of the engine's own count, which includes separators.
        """
        usage = (self.members or {}).get("usage")
        if images and isinstance(usage, dict):
            details = usage.get("prompt_tokens_details") or {}
            usage["prompt_tokens_details"] = {
                **{name: value for name, value in details.items() if name != ENGINE_COUNT},
                "image_tokens": sum(image.tokens for image in images),
                "image_detail": [image.detail for image in images],
                "images": [sizes(image) for image in images],
            }
            self._changed = True

    def add_details(self, record: Record) -> None:
        """Adds what the request cost."""
        if self.members is not None:
            self.members[MEMBER] = details_of(record)
            self._changed = True

    def encode(self) -> bytes:
        """The bytes as they came, unless something was added."""
        return compact(self.members) if self._changed else self._body


class Event(Completion):
    """One server-sent event of a streamed answer. It is not even parsed unless it holds usage or an ending."""

    def __init__(self, frame: bytes) -> None:
        """`frame` includes the blank line that ends it."""
        super().__init__(frame)
        self.frame = frame
        self.tells = frame.startswith(DATA) and (USAGE in frame or FINISHED in frame)
        """Whether it says anything of how the answer ended."""

    @cached_property
    def members(self) -> dict[str, Any] | None:
        return _object(self.frame.removeprefix(DATA))

    def tell(self, outcome: Outcome) -> None:
        if self.tells:
            super().tell(outcome)

    def count_images(self, images: Sequence[ImageUsage]) -> None:
        if self.tells:
            super().count_images(images)

    def encode(self) -> bytes:
        return DATA + super().encode() + END if self._changed else self.frame

    def followed_by_details(self, record: Record) -> bytes:
        """One more event of the same answer: a chunk without choices that says what the request cost."""
        members = self.members or {}
        envelope = {name: members[name] for name in ENVELOPE if name in members}
        return DATA + compact(envelope | {"choices": [], MEMBER: details_of(record)}) + END


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def sizes(image: ImageUsage) -> dict[str, Any]:
    """What a client needs to draw on its own picture what the model locates on the one that it sees."""
    return {
        "width": image.width,
        "height": image.height,
        "processed": list(image.processed),
        "placement": list(image.placement),
        "tokens": image.tokens,
    }


def compact(value: Any) -> bytes:
    """JSON without white space."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

"""Chat completions, the dialect that the engine itself speaks: what it answers passes as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.api.chat.schema import parse_chat
from service.api.completion import Completion, Event
from service.api.limits import RequestLimits
from service.api.sse import DONE, error_frame
from service.domain import Caller, ChatRequest, Record
from service.errors import PatchbayError


class ChatCompletions:
    """Implements `api.dialect.Dialect`."""

    def read(
        self, body: bytes, limits: RequestLimits, *, models: Sequence[str], request_id: str, caller: Caller
    ) -> ChatQuestion:
        request = parse_chat(body, limits, models=models, request_id=request_id, caller=caller)
        return ChatQuestion(request)


@dataclass(frozen=True, slots=True)
class ChatQuestion:
    request: ChatRequest

    def own(self, error: PatchbayError) -> PatchbayError:
        return error

    def whole(self, completion: Completion, record: Record | None) -> bytes:
        if record is not None:
            completion.add_details(record)
        return completion.encode()

    def writer(self) -> ChatWriter:
        return ChatWriter()


class ChatWriter:
    """Passes the engine's events on byte for byte, except for usage."""

    def __init__(self) -> None:
        self._last = Event(b"")

    def write(self, events: Sequence[Event]) -> bytes:
        self._last = events[-1]
        return b"".join(event.encode() for event in events)

    def end(self, record: Record | None) -> bytes:
        return (b"" if record is None else self._last.followed_by_details(record)) + DONE

    def failed(self, error: PatchbayError) -> bytes:
        return error_frame(error)

"""The Messages API as a dialect: reads a request, writes its answer in one piece or as events."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from service.api.anthropic.content import Content, Event
from service.api.anthropic.errors import in_anthropics_words
from service.api.anthropic.fields import CountFields, MessagesFields
from service.api.anthropic.translate import chat_payload
from service.api.chat.schema import check_messages, json_object
from service.api.completion import Completion, compact
from service.api.completion import Event as EngineEvent
from service.api.details import MEMBER, details_of
from service.api.errors import error_object, status_of
from service.api.limits import RequestLimits
from service.api.sentences import checked
from service.api.sse import named_frame
from service.api.translation.origins import Origins
from service.api.translation.pieces import Ending, PieceReader
from service.api.translation.translated import translated
from service.domain import Caller, ChatRequest, Record
from service.errors import PatchbayError

REASONS = {"length": "max_tokens", "content_filter": "refusal"}
"""The engine's finish reasons that have a name of their own here."""


class Messages:
    """Implements `api.dialect.Dialect`."""

    def read(
        self, body: bytes, limits: RequestLimits, *, models: Sequence[str], request_id: str, caller: Caller
    ) -> MessagesQuestion:
        request, origins = read_messages(
            body, limits, MessagesFields, models=models, request_id=request_id, caller=caller
        )
        return MessagesQuestion(request, origins)


def read_messages(
    body: bytes,
    limits: RequestLimits,
    kind: type[CountFields],
    *,
    models: Sequence[str],
    request_id: str,
    caller: Caller,
) -> tuple[ChatRequest, Origins]:
    """The chat request, and where its parts came from. Raises InvalidRequest, TooManyImages, ModelNotFound."""
    payload = json_object(body, limits)
    check_messages(payload, "messages", limits)
    fields, origins = checked(kind, payload), Origins()
    chat = chat_payload(payload, fields, origins)
    request = translated(chat, origins, limits, models=models, request_id=request_id, caller=caller)
    return request, origins


@dataclass(frozen=True, slots=True)
class MessagesQuestion:
    request: ChatRequest
    origins: Origins

    def own(self, error: PatchbayError) -> PatchbayError:
        return self.origins.rename(error)

    def whole(self, completion: Completion, record: Record | None) -> bytes:
        content, reader = Content(), PieceReader()
        for piece in reader.read(completion):
            tuple(content.add(piece))
        tuple(content.close())
        message = _message(self.request.model) | {
            "content": content.blocks,
            **_stopped(reader.ending, content),
            "usage": _usage(reader.ending),
        }
        return compact(message if record is None else {**message, MEMBER: details_of(record)})

    def writer(self) -> MessagesWriter:
        return MessagesWriter(self.request.model, self.request.request_id)


class MessagesWriter:
    def __init__(self, model: str, request_id: str) -> None:
        self._model = model
        self._request_id = request_id
        self._content = Content()
        self._reader = PieceReader()
        self._begun = False

    def write(self, events: Sequence[EngineEvent]) -> bytes:
        frames = []
        for event in events:
            for piece in self._reader.read(event):
                frames.append(self._begin())
                frames.append(_frames(self._content.add(piece)))
        return b"".join(frames)

    def end(self, record: Record | None) -> bytes:
        ending = self._reader.ending
        last = _frames(self._content.close())
        delta = {
            "type": "message_delta",
            "delta": _stopped(ending, self._content),
            "usage": _usage(ending),
        }
        stop = {"type": "message_stop"}
        told = stop if record is None else {**stop, MEMBER: details_of(record)}
        return self._begin() + last + _frames([delta, told])

    def failed(self, error: PatchbayError) -> bytes:
        told = in_anthropics_words(error_object(error), status_of(error), self._request_id)
        return named_frame("error", told)

    def _begin(self) -> bytes:
        """Before the first piece: the message, which has no content yet, and the length of the prompt."""
        if self._begun:
            return b""
        self._begun = True
        message = _message(self._model) | {"usage": {**_usage(self._reader.ending), "output_tokens": 0}}
        return _frames([{"type": "message_start", "message": message}])


def _message(model: str) -> dict[str, Any]:
    return {
        "id": f"msg_{uuid.uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _stopped(ending: Ending, content: Content) -> dict[str, Any]:
    # a call that was forced and cut off by one ends as tool_calls in an answer in one piece, but not in a stream
    sequence = None if content.calls or ending.reason in REASONS else ending.stop
    usual = "tool_use" if content.calls else "end_turn" if sequence is None else "stop_sequence"
    return {"stop_reason": REASONS.get(ending.reason, usual), "stop_sequence": sequence}


def _usage(ending: Ending) -> dict[str, Any]:
    """What was found in the prefix cache does not count as input, as in Anthropic's API."""
    return {
        "input_tokens": max(0, ending.count("prompt_tokens") - ending.cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": ending.cached,
        "output_tokens": ending.count("completion_tokens"),
    }


def _frames(events: Iterable[Event]) -> bytes:
    return b"".join(named_frame(event["type"], event) for event in events)

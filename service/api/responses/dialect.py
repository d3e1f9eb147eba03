"""The Responses API as a dialect: reads a request, writes its answer in one piece or as events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.api.chat.schema import check_messages, json_object
from service.api.completion import Completion, compact
from service.api.completion import Event as EngineEvent
from service.api.details import MEMBER, details_of
from service.api.errors import error_object
from service.api.limits import RequestLimits
from service.api.responses.fields import ResponsesFields
from service.api.responses.output import Event, Output
from service.api.responses.response import ResponseObject, status_of
from service.api.responses.translate import chat_payload
from service.api.sentences import checked
from service.api.sse import named_frame
from service.api.translation.origins import Origins
from service.api.translation.pieces import PieceReader
from service.api.translation.translated import translated
from service.domain import Caller, ChatRequest, Record
from service.errors import PatchbayError


class Responses:
    """Implements `api.dialect.Dialect`."""

    def read(
        self, body: bytes, limits: RequestLimits, *, models: Sequence[str], request_id: str, caller: Caller
    ) -> ResponsesQuestion:
        payload = json_object(body, limits)
        check_messages(payload, "input", limits)
        asked = dict(payload)
        fields, origins = checked(ResponsesFields, payload), Origins()
        chat = chat_payload(payload, fields, origins)
        request = translated(chat, origins, limits, models=models, request_id=request_id, caller=caller)
        return ResponsesQuestion(request, asked, fields, origins)


def read_to_count(
    body: bytes, limits: RequestLimits, *, models: Sequence[str], request_id: str, caller: Caller
) -> tuple[ChatRequest, Origins]:
    """The chat request, and where its parts came from. Raises InvalidRequest, TooManyImages, ModelNotFound."""
    read = Responses().read(body, limits, models=models, request_id=request_id, caller=caller)
    return read.request, read.origins


@dataclass(frozen=True, slots=True)
class ResponsesQuestion:
    request: ChatRequest
    asked: Mapping[str, Any]
    fields: ResponsesFields
    origins: Origins

    def own(self, error: PatchbayError) -> PatchbayError:
        return self.origins.rename(error)

    def whole(self, completion: Completion, record: Record | None) -> bytes:
        output, reader = Output(), PieceReader()
        for piece in reader.read(completion):
            tuple(output.add(piece))
        tuple(output.close(status_of(reader.ending)))
        ended = self._object().ended(output.items, reader.ending)
        return compact(ended if record is None else {**ended, MEMBER: details_of(record)})

    def writer(self) -> ResponsesWriter:
        return ResponsesWriter(self._object())

    def _object(self) -> ResponseObject:
        return ResponseObject(self.asked, self.fields, self.request.model)


class ResponsesWriter:
    """Events are numbered; the first two say that the response has begun, the last is all of it."""

    def __init__(self, response: ResponseObject) -> None:
        self._response = response
        self._output = Output()
        self._reader = PieceReader()
        self._number = 0

    def write(self, events: Sequence[EngineEvent]) -> bytes:
        frames = [self._begin()]
        for event in events:
            for piece in self._reader.read(event):
                frames.append(self._frames(self._output.add(piece)))
        return b"".join(frames)

    def end(self, record: Record | None) -> bytes:
        status = status_of(self._reader.ending)
        frames = self._begin() + self._frames(self._output.close(status))
        response = self._response.ended(self._output.items, self._reader.ending)
        told = response if record is None else {**response, MEMBER: details_of(record)}
        return frames + self._frames([{"type": f"response.{status}", "response": told}])

    def failed(self, error: PatchbayError) -> bytes:
        told = error_object(error)["error"]
        flat = {name: told[name] for name in ("code", "message", "param")}
        return self._frames([{"type": "error", **flat, "error": told}])

    def _begin(self) -> bytes:
        if self._number:
            return b""
        begun = self._response.begun()
        return self._frames(
            {"type": f"response.{state}", "response": begun} for state in ("created", "in_progress")
        )

    def _frames(self, events: Iterable[Event]) -> bytes:
        frames = []
        for event in events:
            frames.append(named_frame(event["type"], {**event, "sequence_number": self._number}))
            self._number += 1
        return b"".join(frames)

"""One request to the model, in any dialect, from its body to the last byte of its answer."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Send

from service.api.admitted import Admitted, Progress
from service.api.completion import Completion, Event
from service.api.constraints.explained import explained
from service.api.dialect import Dialect, Question, Writer
from service.api.errors import explain, status_of
from service.api.exchange import Exchange
from service.api.limits import RequestLimits
from service.api.ports import ChatReply, ChatService, ModelCatalog, RequestPermits
from service.api.sse import DONE, EventStream, FrameSplitter
from service.domain import ChatRequest
from service.errors import EngineFailed, EngineRejected, PatchbayError
from service.telemetry.metrics import Metrics

ENGINE_ERROR = b'data: {"error"'


@dataclass(frozen=True, slots=True)
class Generation:
    """Everything needed to answer requests to the model."""

    service: ChatService
    permits: RequestPermits
    models: ModelCatalog
    limits: RequestLimits
    metrics: Metrics
    keepalive_seconds: float


class GeneratedResponse(Admitted[Question]):
    """What the model answers, in the dialect in which it was asked."""

    def __init__(self, generation: Generation, dialect: Dialect) -> None:
        super().__init__(generation.permits, generation.limits, generation.metrics)
        self._generation = generation
        self._dialect = dialect

    def read(self, body: bytes, exchange: Exchange) -> Question:
        question = self._dialect.read(
            body,
            self._generation.limits,
            models=self._generation.models.names(),
            request_id=exchange.request_id,
            caller=exchange.caller,
        )
        exchange.model, exchange.stream = question.request.model, question.request.stream
        return question

    async def _ask(self, question: Question, request: ChatRequest, exchange: Exchange) -> ChatReply:
        try:
            return await self._generation.service.chat(request, exchange.engine_headers)
        except EngineRejected as error:
            raise question.own(explained(error, request.payload)) from error
        except PatchbayError as error:
            raise question.own(error) from error

    async def whole(self, question: Question, request: ChatRequest, exchange: Exchange) -> Response:
        reply = await self._ask(question, request, exchange)
        async with aclosing(reply):
            body = b"".join([chunk async for chunk in reply.body()])
        completion = Completion(body)
        completion.tell(exchange.outcome)
        completion.count_images(reply.images)
        answer = question.whole(completion, exchange.record if exchange.details else None)
        return Response(answer, media_type=reply.content_type)

    async def stream(
        self, question: Question, request: ChatRequest, exchange: Exchange, progress: Progress, send: Send
    ) -> None:
        writer = question.writer()
        stream = EventStream(
            send,
            keepalive_seconds=self._generation.keepalive_seconds,
            explain=lambda error: explain(error, exchange.request_id, self._generation.metrics),
            last_words=writer.failed,
        )
        async with stream:
            reply = await self._ask(question, request, exchange)
            async with aclosing(reply):
                try:
                    await _relay(reply, writer, stream, progress, exchange)
                except EngineFailed:
                    await reply.failed()
                    raise
            stream.end_with(writer.end(exchange.record if exchange.details else None))
        if stream.failure is not None:
            exchange.status = status_of(stream.failure)
            exchange.failed(stream.failure)


async def _relay(
    reply: ChatReply, writer: Writer, stream: EventStream, progress: Progress, exchange: Exchange
) -> None:
    """The engine's events as they come, up to its `[DONE]`, in the client's dialect. Raises EngineFailed."""
    splitter, last = FrameSplitter(), b""
    async for data in reply.body():
        events, failed = [], False
        for frame in splitter.feed(data):
            if failed := frame.startswith(ENGINE_ERROR):
                break
            last = frame
            if frame != DONE:
                events.append(Event(frame))
        telling = [event for event in events if event.tells]
        for event in telling:
            event.count_images(reply.images)
        if events and (written := writer.write(events)):
            await stream.write(written)
            progress.events()
        for event in telling:
            event.tell(exchange.outcome)
        if failed:
            raise EngineFailed("The engine failed while it was answering.")
    if last != DONE:
        raise EngineFailed("The engine's answer ended before it was complete.")

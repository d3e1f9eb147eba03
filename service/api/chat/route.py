"""`POST /v1/chat/completions`: one request from its body to the last byte of its answer.

While its body arrives, a request is counted as such; then it takes a place, which it keeps until its answer has ended.
Once the body is read, all work for the request runs in one task, which is cancelled when the client disconnects.
"""

from __future__ import annotations

import time
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import takewhile

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api.body import read_body
from service.api.chat.schema import parse_chat
from service.api.completion import Completion, Event
from service.api.connection import StalledClient, abort, send_by, while_connected
from service.api.constraints.explained import explained
from service.api.details import wants_details
from service.api.errors import CLIENT_LEFT, explain, status_of
from service.api.exchange import Exchange, exchange_of
from service.api.limits import RequestLimits
from service.api.ports import ChatReply, ChatService, ModelCatalog, RequestPermits
from service.api.sse import DONE, EventStream, FrameSplitter
from service.domain import ChatRequest
from service.errors import EngineFailed, EngineRejected
from service.telemetry.metrics import Metrics

ENGINE_ERROR = b'data: {"error"'


@dataclass(frozen=True, slots=True)
class Chat:
    """Everything needed to answer chat requests."""

    service: ChatService
    permits: RequestPermits
    models: ModelCatalog
    limits: RequestLimits
    metrics: Metrics
    keepalive_seconds: float


class ChatResponse(Response):
    """The whole exchange as a response, so that errors before its first byte still reach the exception handlers."""

    def __init__(self, chat: Chat) -> None:
        super().__init__()
        self._chat = chat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        exchange.details = wants_details(scope)
        progress = Progress(self._chat.metrics)
        try:
            with self._chat.permits.visit(exchange.caller) as visit:
                with exchange.record.timings.stage("body"):
                    body = await read_body(Request(scope, receive), self._chat.limits)
                    request = self._parse(body, exchange)
                visit.enter()
                request = replace(request, rank=visit.rank)
                progress.stage = "waiting"
                send = send_by(time.monotonic() + self._chat.limits.request_timeout, send)
                if request.stream:
                    await while_connected(self._stream(request, exchange, progress, send), receive)
                else:
                    response = await while_connected(self._whole(request, exchange), receive)
                    await response(scope, receive, send)
        except (ClientDisconnect, StalledClient) as gone:
            exchange.status, exchange.client_left = CLIENT_LEFT, True
            self._chat.metrics.cancelled(progress.stage)
            if isinstance(gone, StalledClient):
                abort(scope)

    def _parse(self, body: bytes, exchange: Exchange) -> ChatRequest:
        request = parse_chat(
            body,
            self._chat.limits,
            models=self._chat.models.names(),
            request_id=exchange.request_id,
            caller=exchange.caller,
        )
        exchange.model, exchange.stream = request.model, request.stream
        return replace(request, record=exchange.record)

    async def _ask(self, request: ChatRequest, exchange: Exchange) -> ChatReply:
        try:
            return await self._chat.service.chat(request, exchange.engine_headers)
        except EngineRejected as error:
            raise explained(error, request.payload) from error

    async def _whole(self, request: ChatRequest, exchange: Exchange) -> Response:
        reply = await self._ask(request, exchange)
        async with aclosing(reply):
            body = b"".join([chunk async for chunk in reply.body()])
        completion = Completion(body)
        completion.tell(exchange.outcome)
        completion.count_images(reply.images)
        if exchange.details:
            completion.add_details(exchange.record)
        return Response(completion.encode(), media_type=reply.content_type)

    async def _stream(self, request: ChatRequest, exchange: Exchange, progress: Progress, send: Send) -> None:
        stream = EventStream(
            send,
            keepalive_seconds=self._chat.keepalive_seconds,
            explain=lambda error: explain(error, exchange.request_id, self._chat.metrics),
        )
        async with stream:
            reply = await self._ask(request, exchange)
            async with aclosing(reply):
                try:
                    last = await _relay(reply, stream, progress, exchange)
                except EngineFailed:
                    await reply.failed()
                    raise
            if exchange.details:
                await stream.write(last.followed_by_details(exchange.record) + DONE)
        if stream.failure is not None:
            exchange.status = status_of(stream.failure)
            exchange.failed(stream.failure)


async def _relay(reply: ChatReply, stream: EventStream, progress: Progress, exchange: Exchange) -> Event:
    """The engine's events as they come, byte for byte except for usage; returns the last one before `[DONE]`.

    Where details are to follow, `[DONE]` itself is left to the caller. Raises EngineFailed.
    """
    splitter = FrameSplitter()
    last = before = Event(b"")
    async for data in reply.body():
        frames = splitter.feed(data)
        good = takewhile(lambda frame: not frame.startswith(ENGINE_ERROR), frames)
        events = [Event(frame) for frame in good]
        passed = [event for event in events if event.frame != DONE] if exchange.details else events
        if passed:
            for event in passed:
                event.count_images(reply.images)
            await stream.write(b"".join(event.encode() for event in passed))
            progress.events()
        for event in events:
            event.tell(exchange.outcome)
            last, before = event, event if event.frame != DONE else before
        if len(events) < len(frames):
            raise EngineFailed("The engine failed while it was answering.")
    if last.frame != DONE:
        raise EngineFailed("The engine's answer ended before it was complete.")
    return before


@dataclass(slots=True)
class Progress:
    """How far an answer has come, and when its events were sent."""

    metrics: Metrics
    stage: str = "body"
    at: float = field(default_factory=time.monotonic)

    def events(self) -> None:
        now = time.monotonic()
        if self.stage == "streaming":
            self.metrics.inter_token(now - self.at)
        else:
            self.metrics.first_token(now - self.at)
            self.stage = "streaming"
        self.at = now

"""What every request under a limit passes, whatever is done for it: its body, its checks, its place.

While its body arrives, a request is counted as such; then it takes a place, which it keeps until its answer has ended.
Once the body is read, all work for the request runs in one task, which is cancelled when the client disconnects.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api.body import read_body
from service.api.connection import StalledClient, abort, sending_by, while_connected
from service.api.details import wants_details
from service.api.errors import CLIENT_LEFT
from service.api.exchange import Exchange, exchange_of
from service.api.limits import RequestLimits
from service.api.ports import RequestPermits
from service.domain import ChatRequest
from service.telemetry.metrics import Metrics
from service.telemetry.timeline import StageTimings


class Read(Protocol):
    """A body that has been read and checked."""

    @property
    def request(self) -> ChatRequest: ...


R = TypeVar("R", bound=Read)


@dataclass(slots=True)
class Progress:
    """How far an answer has come, and when its events were sent."""

    metrics: Metrics
    timings: StageTimings
    stage: str = "body"
    at: float = field(default_factory=time.monotonic)

    def events(self) -> None:
        now = time.monotonic()
        if self.stage == "streaming":
            self.metrics.inter_token(now - self.at)
        else:
            self.metrics.first_token(now - self.at, fetching=self.timings.share("fetch", now))
            self.stage = "streaming"
        self.at = now


class Admitted(Response, ABC, Generic[R]):
    """The whole exchange as a response, so that errors before its first byte still reach the exception handlers."""

    def __init__(self, permits: RequestPermits, limits: RequestLimits, metrics: Metrics) -> None:
        super().__init__()
        self._permits = permits
        self._limits = limits
        self._metrics = metrics

    @abstractmethod
    def read(self, body: bytes, exchange: Exchange) -> R:
        """Raises InvalidRequest and other errors about the body."""

    @abstractmethod
    async def whole(self, read: R, request: ChatRequest, exchange: Exchange) -> Response:
        """The answer in one piece. `request` is that of `read`, with its place in the queues and its record."""

    async def stream(
        self, read: R, request: ChatRequest, exchange: Exchange, progress: Progress, send: Send
    ) -> None:
        """Sends the answer to a request that asks for a stream."""
        raise NotImplementedError

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        exchange.details = wants_details(scope)
        progress = Progress(self._metrics, exchange.record.timings)
        try:
            with self._permits.visit(exchange.caller) as visit:
                with exchange.record.timings.stage("body"):
                    body = await read_body(Request(scope, receive), self._limits)
                    read = self.read(body, exchange)
                visit.enter()
                request = replace(read.request, record=exchange.record, rank=visit.rank)
                progress.stage = "waiting"
                with sending_by(time.monotonic() + self._limits.request_timeout, send) as send:
                    if request.stream:
                        await while_connected(self.stream(read, request, exchange, progress, send), receive)
                    else:
                        response = await while_connected(self.whole(read, request, exchange), receive)
                        await response(scope, receive, send)
        except (ClientDisconnect, StalledClient) as gone:
            exchange.status, exchange.client_left = CLIENT_LEFT, True
            self._metrics.cancelled(progress.stage)
            if isinstance(gone, StalledClient):
                abort(scope)

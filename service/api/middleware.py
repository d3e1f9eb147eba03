"""The outermost layer of every exchange: id and trace, log line and metrics, and the error response of last resort.

Pure ASGI, so that a stream passes through unchanged.
"""

from __future__ import annotations

import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.access import QUIET, log_access
from service.api.errors import error_response, explain
from service.api.exchange import Exchange, begin
from service.api.spans import end_span
from service.telemetry.metrics import Metrics
from service.telemetry.spans import Tracing

UNROUTED = "none"


class BrokenOff(Exception):
    """An answer that failed after it had begun. It does not carry the failure's text, which may quote the request."""


class Exchanges:
    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        # clients and probes join base URL and path as they please
        scope["path"] = scope["path"].rstrip("/") or "/"
        exchange = self._begin(scope)
        started: list[int] = []

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                started.append(message["status"])
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = exchange.request_id
                headers["x-content-type-options"] = "nosniff"
                if exchange.anthropic:
                    headers["request-id"] = exchange.request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            told = explain(error, exchange.request_id, self._metrics)
            exchange.failed(told)
            if started:
                # too late for a status: the server logs what is raised and closes the connection, which the client sees
                raise BrokenOff(f"request {exchange.request_id} failed in the middle of its answer") from None
            await error_response(told, exchange)(scope, receive, send_with_headers)
        finally:
            self._close(scope, exchange, exchange.status or (started[0] if started else 500))

    def _begin(self, scope: Scope) -> Exchange:
        exchange = begin(scope)
        if self._tracing is not None and scope["path"] not in QUIET:
            began = exchange.record.timings.began
            exchange.span = self._tracing.begin(scope["method"], exchange.engine_headers, began)
            # the engine's spans are children of ours
            exchange.engine_headers = {"x-request-id": exchange.request_id, **exchange.span.forwarded_headers}
        return exchange

    def _close(self, scope: Scope, exchange: Exchange, status: int) -> None:
        method, route = scope["method"], getattr(scope.get("route"), "path", UNROUTED)
        timings, ended = exchange.record.timings, time.monotonic()
        seconds, shares = ended - timings.began, timings.shares(ended)
        self._metrics.request(route, exchange.model, status, seconds, shares)
        if exchange.caller.name:
            self._metrics.key_request(exchange.caller.name, status)
        log_access(method, route, status, seconds, shares, exchange)
        end_span(exchange, method, route, status, ended)

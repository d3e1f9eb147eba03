"""The outermost floor of every exchange: its id and trace, its log line, its count, and the answer of last resort.

Pure ASGI, so that a stream passes through untouched.
"""

from __future__ import annotations

import logging
import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.errors import error_response, explain
from service.api.exchange import Exchange, begin
from service.metrics import Metrics

QUIET = frozenset({"/livez", "/readyz", "/metrics"})
UNROUTED = "none"

log = logging.getLogger(__name__)


class Exchanges:
    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        exchange = begin(scope)
        began = time.monotonic()
        started: list[int] = []

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                started.append(message["status"])
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = exchange.request_id
                headers["x-content-type-options"] = "nosniff"
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            told = explain(error, exchange.request_id, self._metrics)
            if started:
                # too late to say so: the server closes the connection, which the client sees
                raise
            await error_response(told)(scope, receive, send_with_headers)
        finally:
            status = exchange.status or (started[0] if started else 500)
            self._close(scope, exchange, status, time.monotonic() - began)

    def _close(self, scope: Scope, exchange: Exchange, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", UNROUTED)
        self._metrics.request(route, exchange.model, status, seconds)
        log.log(
            logging.DEBUG if route in QUIET else logging.INFO,
            "%s %s %d %.3fs %s",
            scope["method"],
            route,
            status,
            seconds,
            exchange.request_id,
        )

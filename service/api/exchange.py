"""The state of one HTTP exchange: its id, trace and caller, and how it ended.

It travels in the ASGI scope, from the outermost middleware to the routes.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import Scope

from service.api.completion import Outcome
from service.domain import ANYBODY, Caller, Record
from service.errors import PatchbayError
from service.telemetry.spans import RequestSpan

KEY = "patchbay.exchange"
MESSAGES = "/v1/messages/"
"""Where Anthropic's dialect is spoken."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# https://www.w3.org/TR/trace-context/#traceparent-header
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}")


@dataclass(slots=True)
class Exchange:
    request_id: str
    engine_headers: Mapping[str, str]
    """Headers for the engine: `x-request-id`, and `traceparent` and `tracestate` if the client sent them."""
    record: Record = field(default_factory=Record)
    """Starts with the exchange."""
    outcome: Outcome = field(default_factory=Outcome)
    caller: Caller = ANYBODY
    model: str = ""
    """The model that was requested; empty for requests that are not for a model."""
    anthropic: bool = False
    """Whether it is in Anthropic's dialect, in which errors and the id's header have other names."""
    stream: bool = False
    details: bool = False
    """Whether the client asked for the request's cost: see the module `details`."""
    status: int | None = None
    """The outcome where it differs from the status line: late failures of a stream, clients that disconnected."""
    error: str = ""
    """The code of the error with which it ended."""
    cause: str = ""
    """Why an image could not be had from its URL, if that was the error."""
    client_left: bool = False
    span: RequestSpan | None = None
    """None where tracing is off."""

    def failed(self, error: PatchbayError) -> None:
        self.error, self.cause = error.code, error.cause or ""


def begin(scope: Scope) -> Exchange:
    """Takes over the client's request id and trace context if they are well formed; generates an id otherwise."""
    headers = Headers(scope=scope)
    given = headers.get("x-request-id", "")
    request_id = given if REQUEST_ID.fullmatch(given) else f"req-{uuid.uuid4().hex}"
    exchange = Exchange(
        request_id,
        {"x-request-id": request_id} | _trace(headers),
        anthropic=f"{scope['path']}/".startswith(MESSAGES),
    )
    scope[KEY] = exchange
    return exchange


def exchange_of(scope: Scope) -> Exchange:
    exchange = scope[KEY]
    assert isinstance(exchange, Exchange)
    return exchange


def _trace(headers: Headers) -> dict[str, str]:
    parent, state = headers.get("traceparent", ""), headers.get("tracestate", "")
    if not TRACEPARENT.fullmatch(parent):
        return {}
    return {"traceparent": parent} | ({"tracestate": state} if TRACESTATE.fullmatch(state) else {})

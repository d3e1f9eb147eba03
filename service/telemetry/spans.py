"""Spans of requests as the HTTP layer sees them: two protocols, implemented by `service.telemetry.otel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from service.telemetry.timeline import StageTimings

# https://opentelemetry.io/docs/specs/semconv/http/http-spans/
Attribute = str | int | bool | list[str]


class RequestSpan(Protocol):
    """The span of one request, which has begun."""

    @property
    def forwarded_headers(self) -> Mapping[str, str]:
        """`traceparent`, and `tracestate` where there is one, for the request to the engine."""
        ...

    def end(
        self,
        name: str,
        timings: StageTimings,
        ended: float,
        attributes: Mapping[str, Attribute],
        *,
        failed: bool,
    ) -> None:
        """Ends it at `ended` (time.monotonic), with a child for each of the stages."""
        ...


class Tracing(Protocol):
    def begin(self, method: str, carrier: Mapping[str, str], began: float) -> RequestSpan:
        """A server span from `began` (time.monotonic) on, the child of the `traceparent` in `carrier`, if any."""
        ...

    def close(self) -> None:
        """Sends what is left, for a few seconds at most. Blocks."""
        ...

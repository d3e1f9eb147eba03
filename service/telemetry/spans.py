"""Request spans as the HTTP layer sees them: two protocols, implemented by `service.telemetry.otel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from service.telemetry.timeline import StageTimings

# https://opentelemetry.io/docs/specs/semconv/http/http-spans/
Attribute = str | int | bool | list[str]


class RequestSpan(Protocol):
    """The span of one request, already started."""

    @property
    def forwarded_headers(self) -> Mapping[str, str]:
        """`traceparent`, and `tracestate` if there is one, for the request to the engine."""
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
        """Ends it at `ended` (time.monotonic), with a child for each stage."""
        ...


class Tracing(Protocol):
    def begin(self, method: str, carrier: Mapping[str, str], began: float) -> RequestSpan:
        """A server span that starts at `began` (time.monotonic), a child of the `traceparent` in `carrier`, if any."""
        ...

    def close(self) -> None:
        """Sends the remaining spans, for a few seconds at most. Blocks."""
        ...

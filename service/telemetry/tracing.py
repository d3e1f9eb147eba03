"""Traces of requests, off unless an endpoint is set: what the HTTP floor asks for, and where spans are sent.

Imports OpenTelemetry only when it is on. Knows nothing of HTTP or of what a stage does.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Protocol
from urllib.parse import urlsplit

from service.errors import ConfigurationError
from service.telemetry.timeline import StageTimings

NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")
TRACES_PATH = "/v1/traces"
# https://opentelemetry.io/docs/specs/semconv/http/http-spans/
Attribute = str | int | bool | list[str]


class RequestSpan(Protocol):
    """The span of one request, which has begun."""

    @property
    def handed_on(self) -> Mapping[str, str]:
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


def traces_url(endpoint: str) -> str:
    """Where an OTLP endpoint takes spans over HTTP; a path of its own is taken as it is."""
    bare = endpoint.rstrip("/")
    return endpoint if urlsplit(bare).path else bare + TRACES_PATH


def check_installed(endpoint: str | None) -> None:
    """Raises ConfigurationError when traces are wanted and OpenTelemetry is missing."""
    if endpoint is None:
        return
    for module in NEEDED:
        if not _found(module):
            raise ConfigurationError(
                f"otlp_endpoint ({endpoint}) needs OpenTelemetry, and {module} is not installed: "
                "pip install 'patchbay[otel]', or leave otlp_endpoint unset"
            )


def make_tracing(endpoint: str | None, *, model: str) -> Tracing | None:
    """Spans to `endpoint` over OTLP/HTTP; None where no endpoint is set. Raises ConfigurationError."""
    check_installed(endpoint)
    if endpoint is None:
        return None
    from service.telemetry.otel import exporting

    return exporting(traces_url(endpoint), model)


def _found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False

"""Traces of requests, off unless an endpoint is set: whether they can be sent, and where to.

Imports OpenTelemetry only when it is on.
"""

from __future__ import annotations

from importlib.util import find_spec
from urllib.parse import urlsplit

from service.errors import ConfigurationError
from service.telemetry.spans import Tracing

NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")
TRACES_PATH = "/v1/traces"


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

"""Request traces, off unless an endpoint is set: checks that OpenTelemetry is installed, and starts it.

OpenTelemetry is imported only if tracing is on.
"""

from __future__ import annotations

from importlib.util import find_spec
from urllib.parse import urlsplit

from service.errors import ConfigurationError
from service.telemetry.spans import Tracing

NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")
TRACES_PATH = "/v1/traces"


def traces_url(endpoint: str) -> str:
    """The URL for spans at an OTLP endpoint over HTTP; an endpoint that has a path is used unchanged."""
    bare = endpoint.rstrip("/")
    return endpoint if urlsplit(bare).path else bare + TRACES_PATH


def check_installed(endpoint: str | None) -> None:
    """Raises ConfigurationError when tracing is on and OpenTelemetry is missing."""
    if endpoint is None:
        return
    for module in NEEDED:
        if not _found(module):
            raise ConfigurationError(
                f"otlp_endpoint ({endpoint}) needs OpenTelemetry, but {module} is not installed: "
                "pip install 'patchbay[otel]', or leave otlp_endpoint unset"
            )


def make_tracing(endpoint: str | None, *, model: str) -> Tracing | None:
    """Sends spans to `endpoint` over OTLP/HTTP; None if no endpoint is set. Raises ConfigurationError."""
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

"""Request spans through OpenTelemetry's SDK, which only this module imports.

One server span per request with one child per stage (those of parallel images overlap); W3C `traceparent` in and out.
Attributes contain no content. https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from functools import partial

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service import __version__
from service.telemetry.spans import Attribute
from service.telemetry.timeline import StageTimings

CLOSE_SECONDS = 5.0
PROPAGATOR = TraceContextTextMapPropagator()


def exporting(url: str, model: str) -> OtelTracing:
    """Sends batches to an OTLP/HTTP collector at `url` from a thread of the SDK; its loss slows no request."""
    provider = TracerProvider(resource=resource(model), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
    return OtelTracing(provider)


def resource(model: str) -> Resource:
    """The resource of these spans; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence, as usual."""
    ours = Resource({"service.name": "patchbay", "service.version": __version__, "patchbay.model": model})
    detected = Resource.create()
    if str(detected.attributes["service.name"]).startswith("unknown_service"):
        return detected.merge(ours)
    return ours.merge(detected)


class OtelTracing:
    """Implements `service.telemetry.spans.Tracing`."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("patchbay", __version__)

    def begin(self, method: str, carrier: Mapping[str, str], began: float) -> OtelSpan:
        # spans carry wall-clock timestamps, timelines monotonic ones
        offset = time.time() - time.monotonic()
        span = self._tracer.start_span(
            method,
            context=PROPAGATOR.extract(carrier),
            kind=SpanKind.SERVER,
            start_time=_nanoseconds(offset, began),
        )
        return OtelSpan(self._tracer, span, offset)

    def close(self) -> None:
        # a collector that does not answer must not delay the exit of the process
        closing = threading.Thread(target=self._provider.shutdown, name="otel shutdown", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


class OtelSpan:
    """Implements `service.telemetry.spans.RequestSpan`."""

    def __init__(self, tracer: Tracer, span: Span, offset: float) -> None:
        self._tracer = tracer
        self._span = span
        self._offset = offset

    @property
    def forwarded_headers(self) -> Mapping[str, str]:
        carrier: dict[str, str] = {}
        PROPAGATOR.inject(carrier, set_span_in_context(self._span))
        return carrier

    def end(
        self,
        name: str,
        timings: StageTimings,
        ended: float,
        attributes: Mapping[str, Attribute],
        *,
        failed: bool,
    ) -> None:
        at = partial(_nanoseconds, self._offset)
        if self._span.is_recording():
            self._span.update_name(name)
            self._span.set_attributes(attributes)
            if failed:
                self._span.set_status(Status(StatusCode.ERROR))
            context = set_span_in_context(self._span)
            for stage in timings.spans:
                child = self._tracer.start_span(stage.stage, context, start_time=at(stage.begin))
                if stage.host:
                    child.set_attribute("server.address", stage.host)
                child.end(at(stage.end))
        self._span.end(at(ended))


def _nanoseconds(offset: float, at: float) -> int:
    return int((offset + at) * 1e9)

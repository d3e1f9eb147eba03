"""An OTLP/HTTP collector in a thread: keeps the spans it is sent."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True, slots=True)
class Sent:
    """One span; ids in hexadecimal, an empty parent for a root."""

    service: str
    name: str
    trace: str
    span: str
    parent: str


class Collector:
    def __init__(self, url: str) -> None:
        self.url = url
        self._spans: list[Sent] = []
        self._arrived = threading.Condition()

    def take(self, request: ExportTraceServiceRequest) -> None:
        found = [
            Sent(
                _service(group.resource),
                span.name,
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
            )
            for group in request.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]
        with self._arrived:
            self._spans += found
            self._arrived.notify_all()

    def trace(self, trace: str, services: set[str], timeout: float) -> list[Sent]:
        """One trace's spans, once each of `services` has sent some. AssertionError after `timeout` seconds."""

        def complete() -> bool:
            return services <= {span.service for span in self._spans if span.trace == trace}

        with self._arrived:
            assert self._arrived.wait_for(complete, timeout), f"of trace {trace} came {self._spans}"
            return [span for span in self._spans if span.trace == trace]


@contextmanager
def collecting() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collector.take(ExportTraceServiceRequest.FromString(body))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _service(resource: object) -> str:
    return next(
        (pair.value.string_value for pair in resource.attributes if pair.key == "service.name"),  # type: ignore[attr-defined]
        "",
    )

"""Requests become spans: through the HTTP layer into the SDK's in-memory exporter."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from service.domain import ChatRequest
from service.errors import EngineFailed
from service.telemetry.otel import OtelTracing, resource
from service.telemetry.timeline import Span, StageTimings
from service.telemetry.tracing import make_tracing
from tests.service.api.fakes import LOW, Call, Harness, Reply, Service, chat

pytestmark = pytest.mark.anyio
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SECRET = "Sesame-7f3a"


class Working(Service):
    async def chat(self, request: ChatRequest, headers: Mapping[str, str]) -> Reply:
        timings = request.record.timings
        timings.add(
            Span("decode", timings.began, timings.began + 1),
            Span("encode", timings.began + 1, timings.began + 3),
        )
        timings.add(Span("fetch", timings.began, timings.began + 1, "a.example"))
        timings.add(Span("decode", timings.began, timings.began + 2))
        request.record.images = [LOW]
        return await super().chat(request, headers)


class Traced:
    """The HTTP layer with traces into memory."""

    def __init__(self, reply: Reply | BaseException, gate: asyncio.Event | None = None) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.service = Working(reply, gate)
        self.harness = Harness(pipeline=self.service, tracing=OtelTracing(provider))

    def spans(self) -> tuple[ReadableSpan, list[ReadableSpan]]:
        """The server's span and its children."""
        *children, server = self.exporter.get_finished_spans()
        assert all(child.parent and child.parent.span_id == server.context.span_id for child in children)
        return server, list(children)


ANSWER = json.dumps(
    {
        "choices": [{"message": {"content": SECRET}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3},
    }
).encode()


async def test_a_request_is_a_server_span_with_a_child_a_stage() -> None:
    traced = Traced(Reply(ANSWER, images=[LOW]))
    await chat(traced.harness, headers={"x_request_id": "mine"}).run()
    server, children = traced.spans()
    assert (server.name, server.kind, server.parent) == ("POST /v1/chat/completions", SpanKind.SERVER, None)
    assert sorted(child.name for child in children) == ["body", "decode", "decode", "encode", "fetch"]
    assert {child.name: dict(child.attributes or {}) for child in children} == {
        **dict.fromkeys(("body", "decode", "encode"), {}),
        "fetch": {"server.address": "a.example"},
    }
    (encode,) = (child for child in children if child.name == "encode")
    assert encode.start_time and encode.end_time and server.start_time
    assert abs(encode.end_time - encode.start_time - 2e9) < 1000
    assert abs(encode.start_time - server.start_time - 1e9) < 1000
    assert dict(server.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "patchbay.request_id": "mine",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "patchbay",
        "gen_ai.request.model": "demo",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 9,
        "gen_ai.usage.output_tokens": 3,
        "patchbay.stream": False,
        "patchbay.images": 1,
        "patchbay.image_tokens": 16,
        "patchbay.images_cached": 0,
    }
    assert server.status.status_code is StatusCode.UNSET


async def test_the_callers_trace_goes_on_through_us_to_the_engine() -> None:
    traced = Traced(Reply(b"{}"))
    given = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "a=b", "x_request_id": "mine"}
    await chat(traced.harness, headers=given).run()
    server, children = traced.spans()
    assert server.parent is not None and f"{server.parent.span_id:016x}" == PARENT
    assert {f"{span.context.trace_id:032x}" for span in (server, *children)} == {TRACE}
    assert traced.service.asked[0][1] == {
        "x-request-id": "mine",
        "traceparent": f"00-{TRACE}-{server.context.span_id:016x}-01",
        "tracestate": "a=b",
    }


@pytest.mark.parametrize("given", ["", "garbage", f"00-{'0' * 32}-{PARENT}-01"])
async def test_a_request_without_a_trace_begins_one(given: str) -> None:
    traced = Traced(Reply(b"{}"))
    await chat(traced.harness, headers={"traceparent": given}).run()
    server, _ = traced.spans()
    forwarded = traced.service.asked[0][1]["traceparent"]
    version, trace, span, flags = forwarded.split("-")
    assert (version, trace, span) == (
        "00",
        f"{server.context.trace_id:032x}",
        f"{server.context.span_id:016x}",
    )
    assert int(flags, 16) & 1, "sampled"


async def test_a_trace_that_is_not_sampled_stays_so() -> None:
    traced = Traced(Reply(b"{}"))
    await chat(traced.harness, headers={"traceparent": f"00-{TRACE}-{PARENT}-00"}).run()
    assert traced.exporter.get_finished_spans() == ()
    version, trace, span, flags = traced.service.asked[0][1]["traceparent"].split("-")
    assert (trace, flags) == (TRACE, "00")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_is_an_error_by_its_code(stream: bool) -> None:
    traced = Traced(Reply(EngineFailed(SECRET)))
    await chat(traced.harness, stream=stream).run()
    server, _ = traced.spans()
    attributes = dict(server.attributes or {})
    assert (attributes["error.type"], attributes["http.response.status_code"]) == ("engine_error", 502)
    assert server.status.status_code is StatusCode.ERROR


async def test_a_client_that_leaves_ends_its_span() -> None:
    traced = Traced(Reply(b"{}"), gate=asyncio.Event())
    call = chat(traced.harness)
    running = asyncio.create_task(call.run())
    await traced.service.asking.wait()
    call.leave()
    await running
    server, children = traced.spans()
    assert dict(server.attributes or {})["http.response.status_code"] == 499
    assert "decode" in {child.name for child in children}


async def test_probes_are_not_traced() -> None:
    traced = Traced(Reply(b"{}"))
    for path in ("/livez", "/readyz", "/metrics"):
        await Call(traced.harness.api, path, method="GET").run()
    assert traced.exporter.get_finished_spans() == ()


@pytest.mark.parametrize("place", ["text", "url", "query", "path", "header"])
async def test_no_content_is_in_a_span(place: str) -> None:
    traced = Traced(Reply(ANSWER))
    parts: list[dict[str, Any]] = [{"type": "text", "text": SECRET}]
    if place == "url":
        parts = [{"type": "image_url", "image_url": {"url": f"http://a/{SECRET}?signature={SECRET}"}}]
    call = chat(
        traced.harness, messages=[{"role": "user", "content": parts}], headers={"authorization": SECRET}
    )
    if place == "query":
        call.scope["query_string"] = SECRET.encode()
    if place == "path":
        call.scope["path"] = f"/{SECRET}"
    await call.run()
    server, children = traced.spans()
    assert SECRET not in "".join(span.to_json() for span in (server, *children))


def test_who_sends_is_told_and_the_operators_own_name_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    assert resource("m").attributes["service.name"] == "patchbay"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "vision-eu")
    assert resource("m").attributes["service.name"] == "vision-eu"
    assert resource("m").attributes["patchbay.model"] == "m"


def test_spans_reach_a_collector_over_http() -> None:
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        tracing = make_tracing(f"http://127.0.0.1:{server.server_address[1]}", model="m")
        assert tracing is not None
        timings = StageTimings(1.0)
        timings.add(Span("decode", 1.0, 2.0))
        tracing.begin("POST", {}, 1.0).end("POST /x", timings, 3.0, {"a": 1}, failed=False)
        tracing.close()
        server.shutdown()
    ((path, body),) = received
    assert path == "/v1/traces"
    (sent,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert {"service.name", "service.version"} <= {item.key for item in sent.resource.attributes}
    assert [span.name for span in sent.scope_spans[0].spans] == ["decode", "POST /x"]

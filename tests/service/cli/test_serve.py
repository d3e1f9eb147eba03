"""The whole command in a process of its own, before an engine of a few lines: what operators see from outside."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.processes import free_port
from tests.service.pipeline.test_chat import png
from tests.waiting import DEADLOCK

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parent.parent.parent.parent
TRACE = "0af7651916cd43dd8448eb211c80319c"
SECRET = "Sesame-7f3a"


class Neighbours:
    """An engine and a collector, as far as they are needed here."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.spans: list[str] = []
        self.told_to_stop = asyncio.Event()
        self.app = web.Application()
        self.app.router.add_get("/health", self._health)
        self.app.router.add_get("/metrics", self._metrics)
        self.app.router.add_post("/v1/chat/completions", self._chat)
        self.app.router.add_post("/v1/traces", self._traces)

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(text="vllm:num_requests_running 0.0\n")

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self.asked.append({name.lower(): value for name, value in request.headers.items()})
        if (await request.json()).get("stream"):
            return await self._stream_for_ever(request)
        return web.json_response(
            {
                "choices": [{"message": {"content": SECRET}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 10_000, "completion_tokens": 3},
            }
        )

    async def _stream_for_ever(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        chunk = json.dumps(
            {"choices": [{"delta": {"content": "word " * 2000}, "finish_reason": None}]}
        ).encode()
        try:
            while True:
                await answer.write(b"data: " + chunk + b"\n\n")
        except ConnectionError:
            self.told_to_stop.set()
        return answer

    async def _traces(self, request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        self.spans += [
            span.name
            for resource in sent.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        return web.Response()


@asynccontextmanager
async def neighbours() -> AsyncIterator[tuple[Neighbours, str]]:
    both = Neighbours()
    runner = web.AppRunner(both.app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield both, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Running:
    """`patchbay serve` and the lines that it has written."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []

    async def until(self, words: str) -> None:
        assert self.process.stderr is not None
        async with asyncio.timeout(DEADLOCK):
            while not any(words in line["message"] for line in self.lines):
                line = await self.process.stderr.readline()
                assert line, f"it ended before it said {words!r}: {self.lines}"
                self.lines.append(json.loads(line))

    async def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLOCK):
            output, errors = await self.process.communicate()
        assert output == b""
        self.lines += [json.loads(line) for line in errors.splitlines()]


@asynccontextmanager
async def serving(*flags: str) -> AsyncIterator[Running]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from service.cli import main; raise SystemExit(main())", "serve", *flags),
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PATCHBAY_")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_metrics_logs_and_traces_of_one_request_from_outside() -> None:
    port, admin_port = free_port(), free_port()
    url, admin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}"
    question = {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": png(400, 400), "detail": "high"}},
                    {"type": "text", "text": SECRET},
                ],
            }
        ]
    }
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "x-request-id": "mine"}
    async with (
        neighbours() as (others, place),
        serving(
            *("--images", "passthrough", "--engine-url", place, "--otlp-endpoint", place),
            *("--port", str(port), "--admin-port", str(admin_port), "--log-format", "json"),
        ) as service,
        httpx.AsyncClient(timeout=DEADLOCK) as client,
    ):
        await service.until("metrics at")
        answer = await client.post(f"{url}/v1/chat/completions", json=question, headers=headers)
        assert (answer.status_code, answer.headers["x-request-id"]) == (200, "mine")
        assert others.asked[-1]["traceparent"].startswith(f"00-{TRACE}-")
        assert others.asked[-1]["x-request-id"] == "mine"

        assert (await client.get(f"{url}/metrics")).status_code == 404
        for each in (url, admin):
            assert (await client.get(f"{each}/livez")).status_code == 200
            assert (await client.get(f"{each}/readyz")).status_code == 200
        assert (await client.get(f"{admin}/metrics/engine")).text == "vllm:num_requests_running 0.0\n"
        sums = {
            sample.labels["stage"]: sample.value
            for family in text_string_to_metric_families((await client.get(f"{admin}/metrics")).text)
            for sample in family.samples
            if sample.name == "patchbay_stage_duration_seconds_sum"
        }
        total = sums.pop("total")
        assert total > 0 and math.isclose(sum(sums.values()), total, rel_tol=1e-6)

        await service.end()
        (line,) = [line for line in service.lines if line.get("request_id") == "mine"]
        assert (line["logger"], line["status"], line["finish_reasons"]) == ("patchbay.access", 200, ["stop"])
        assert [(image["width"], image["tiles"], image["tokens"]) for image in line["images"]] == [
            (400, 10, 160)
        ]
        assert SECRET not in json.dumps(service.lines)
        assert {"body", "engine_answer", "POST /v1/chat/completions"} <= set(others.spans)


@pytest.mark.parametrize("limit", ["--write-timeout", "--request-timeout"])
async def test_whoever_does_not_read_gives_the_engine_and_the_place_back(limit: str) -> None:
    port, admin_port = free_port(), free_port()
    body = json.dumps({"messages": [{"role": "user", "content": "tell"}], "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
    async with (
        neighbours() as (others, place),
        serving(
            *("--images", "passthrough", "--engine-url", place, limit, "2", "--max-connections", "300"),
            *("--port", str(port), "--admin-port", str(admin_port), "--log-format", "json"),
        ) as service,
        httpx.AsyncClient(timeout=DEADLOCK) as client,
    ):
        await service.until("metrics at")
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(reader, ("127.0.0.1", port))
            await loop.sock_sendall(reader, f"{head}content-type: application/json\r\n\r\n".encode() + body)
            async with asyncio.timeout(DEADLOCK):
                await others.told_to_stop.wait()

                async def ended() -> dict[str, float]:
                    page = (await client.get(f"http://127.0.0.1:{admin_port}/metrics")).text
                    return {
                        sample.name + str(sample.labels.get("reason", "")): sample.value
                        for family in text_string_to_metric_families(page)
                        for sample in family.samples
                    }

                reason = "write_timeout" if limit == "--write-timeout" else "deadline"
                while not (figures := await ended())[f"patchbay_connections_closed_total{reason}"]:
                    continue
        assert figures["patchbay_inflight"] == 0
        assert figures["patchbay_connections_limit"] == 300
        await service.end()
        (line,) = [line for line in service.lines if line.get("route") == "/v1/chat/completions"]
        assert (line["status"], line["client_left"]) == (499, True)


async def test_an_admin_port_that_is_taken_is_refused_at_the_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with serving("--admin-port", port, "--port", str(free_port())) as service:
            _, errors = await service.process.communicate()
    assert service.process.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in errors.decode()
    assert "--admin-port" in errors.decode()

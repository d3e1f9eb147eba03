import asyncio
import difflib
import json
import logging
import re

import pytest

from service import __version__
from service.api import openapi
from service.api.openapi import document
from service.errors import EngineUnavailable
from tests.service.api.fakes import Call, Harness, Health, chat

pytestmark = pytest.mark.anyio
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def get(harness: Harness, path: str, **headers: str) -> Call:
    return await Call(harness.api, path, method="GET", **headers).run()


async def test_models() -> None:
    call = await get(Harness(), "/v1/models")
    assert json.loads(call.body) == {
        "object": "list",
        "data": [
            {"id": "demo", "object": "model", "max_model_len": 4096},
            {"id": "org/other", "object": "model", "max_model_len": 4096},
        ],
    }


async def test_one_model() -> None:
    assert json.loads((await get(Harness(), "/v1/models/org/other")).body)["id"] == "org/other"
    call = await get(Harness(), "/v1/models/nope")
    assert (call.status, call.error["code"], call.error["param"]) == (404, "model_not_found", "model")


async def test_alive_whatever_is_missing() -> None:
    harness = Harness(health=Health(engine="starting"))
    assert (await get(harness, "/livez")).status == 200


async def test_ready_with_reasons() -> None:
    health = Health(engine="starting: 12 s so far")
    harness = Harness(health=health)
    call = await get(harness, "/readyz")
    assert call.status == 503
    assert json.loads(call.body)["reasons"] == {"engine": "starting: 12 s so far"}
    health.told = {}
    assert (await get(harness, "/readyz")).status == 200


async def test_metrics_as_prometheus_and_openmetrics_ask() -> None:
    harness = Harness()
    await chat(harness).run()
    call = await get(harness, "/metrics")
    assert call.headers["content-type"].startswith("text/plain")
    line = b'patchbay_requests_total{code="200",model="demo",route="/v1/chat/completions"} 1.0'
    assert line in call.body
    newer = await get(harness, "/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert newer.headers["content-type"].startswith("application/openmetrics-text")
    assert newer.body.endswith(b"# EOF\n")


class VLLM:
    def __init__(self, page: bytes | EngineUnavailable) -> None:
        self.page = page

    async def engine_metrics(self) -> tuple[bytes, str]:
        if isinstance(self.page, EngineUnavailable):
            raise self.page
        return self.page, "text/plain; version=0.0.4"


async def test_the_engines_metrics_stand_beside_ours_as_it_writes_them() -> None:
    call = await get(Harness(engine=VLLM(b"vllm:num_requests_running 1.0\n")), "/metrics/engine")
    assert (call.status, call.body) == (200, b"vllm:num_requests_running 1.0\n")
    assert call.headers["content-type"] == "text/plain; version=0.0.4"


async def test_an_engine_that_is_down_fails_its_own_page_alone() -> None:
    harness = Harness(engine=VLLM(EngineUnavailable("the engine is down", retry_after=1)))
    call = await get(harness, "/metrics/engine")
    assert (call.status, call.body) == (503, b"the engine is down")
    assert (await get(harness, "/metrics")).status == 200
    assert harness.metric("rejections_total", reason="engine_unavailable") == 0


async def test_an_admin_port_takes_the_metrics_along_and_shares_the_health() -> None:
    health = Health(engine="starting")
    harness = Harness(engine=VLLM(b"vllm:x 1\n"), show_metrics=False, health=health)
    for path in ("/metrics", "/metrics/engine"):
        assert (await get(harness, path)).status == 404
        assert (await Call(harness.admin, path, method="GET").run()).status == 200
    for app in (harness.api, harness.admin):
        assert (await Call(app, "/livez", method="GET").run()).status == 200
        assert (await Call(app, "/readyz", method="GET").run()).status == 503
    assert (await Call(harness.admin, "/v1/models", method="GET").run()).status == 404
    await chat(harness).run()
    page = (await Call(harness.admin, "/metrics", method="GET").run()).body
    assert b'patchbay_requests_total{code="200",model="demo",route="/v1/chat/completions"} 1.0' in page


@pytest.mark.parametrize(
    "method, path, status, code",
    [
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
        ("OPTIONS", "/v1/chat/completions", 405, "method_not_allowed"),
    ],
)
async def test_what_is_not_there(method: str, path: str, status: int, code: str) -> None:
    call = await Call(Harness().api, path, b"{}", method=method, origin="http://evil").run()
    assert (call.status, call.error["code"]) == (status, code)
    assert not [name for name in call.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/chat/completions", 'nothing at "/chat/completions". Did you mean /v1/chat/completions?'),
        ("/v1/chat/completion", "Did you mean /v1/chat/completions?"),
        ("/healthz", "Did you mean /health?"),
        ("/x", "The API is under /v1, such as /v1/chat/completions."),
    ],
)
async def test_a_path_that_is_not_there_is_told_with_what_is_near(path: str, told: str) -> None:
    assert told in (await get(Harness(), path)).error["message"]


async def test_a_trailing_slash_makes_no_difference() -> None:
    harness, body = Harness(), b'{"messages":[{"role":"user","content":"hi"}]}'
    for path, described in document()["paths"].items():
        for method in described:
            asked = [
                await Call(api, path + slash, body, method=method.upper()).run()
                for api in (harness.api, harness.admin)
                for slash in ("", "/", "//")
            ]
            assert [call.status for call in asked[:3]] == [asked[0].status] * 3
            assert [call.status for call in asked[3:]] == [asked[3].status] * 3
            assert asked[0].status != 404 or "{" in path or path == "/metrics/engine"


@pytest.mark.parametrize("path", ["/health", "/ping", "/readyz"])
async def test_readiness_has_the_names_that_other_servers_clients_ask_for(path: str) -> None:
    health = Health(engine="starting")
    harness = Harness(health=health, api_keys=["sk-one"])
    assert (await get(harness, path)).status == 503
    health.told = {}
    assert (await get(harness, path)).status == 200


async def test_version_and_description_need_no_key() -> None:
    harness = Harness(api_keys=["sk-one"])
    assert json.loads((await get(harness, "/version")).body) == {"version": __version__}
    described = await get(harness, "/openapi.json")
    assert described.headers["content-type"] == "application/json"
    assert json.loads(described.body) == document()


async def test_what_anybody_may_ask_for_is_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(api_keys=["sk-one"])
    first = await get(harness, "/openapi.json")

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("work that grows with what a stranger sends, or is done anew for each")

    monkeypatch.setattr(openapi, "document", fail)
    monkeypatch.setattr(difflib, "get_close_matches", fail)
    assert (await get(harness, "/openapi.json")).body == first.body
    assert "The API is under /v1" in (await get(harness, "/v1/chat/completions" * 1000)).error["message"]


async def preflight(harness: Harness, origin: str) -> Call:
    asked = {"origin": origin, "access_control_request_method": "POST"}
    return await Call(
        harness.api,
        "/v1/chat/completions",
        method="OPTIONS",
        **asked,
        access_control_request_headers="authorization,content-type",
    ).run()


async def test_pages_of_allowed_origins_may_call() -> None:
    harness = Harness(allowed_origins=["https://ui.example"])
    allowed = await preflight(harness, "https://ui.example")
    assert (allowed.status, allowed.headers["access-control-allow-origin"]) == (200, "https://ui.example")
    assert (await preflight(harness, "https://evil.example")).status == 400
    answered = await chat(harness, headers={"origin": "https://ui.example"}).run()
    assert answered.headers["access-control-allow-origin"] == "https://ui.example"
    assert "x-request-id" in answered.headers["access-control-expose-headers"]


async def test_unrouted_paths_are_one_label() -> None:
    harness = Harness()
    for path in ("/a", "/b"):
        await get(harness, path)
    assert harness.metric("requests_total", route="none", model="", code="404") == 2


@pytest.mark.parametrize("given", ["abc", "A.b_c:d-9", "x" * 128])
async def test_a_request_id_is_kept(given: str) -> None:
    harness = Harness()
    call = await chat(harness, headers={"x_request_id": given}).run()
    request, headers = harness.service.asked[0]
    assert call.headers["x-request-id"] == request.request_id == headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "a\r\nset-cookie: b", "é"])
async def test_or_made(given: str) -> None:
    ids = {
        (await chat(Harness(), headers={"x_request_id": given}).run()).headers["x-request-id"]
        for _ in range(2)
    }
    assert len(ids) == 2 and all(re.fullmatch("req-[0-9a-f]{32}", one) for one in ids)


@pytest.mark.parametrize(
    "given, forwarded",
    [
        ({"traceparent": TRACE}, {"traceparent": TRACE}),
        ({"traceparent": TRACE, "tracestate": "a=b"}, {"traceparent": TRACE, "tracestate": "a=b"}),
        ({"traceparent": TRACE.upper()}, {}),
        ({"tracestate": "a=b"}, {}),
        ({"authorization": "Bearer secret", "cookie": "secret"}, {}),
    ],
)
async def test_the_trace_is_forwarded_and_nothing_else(
    given: dict[str, str], forwarded: dict[str, str]
) -> None:
    harness = Harness()
    await chat(harness, headers={"x_request_id": "r"} | given).run()
    assert harness.service.asked[0][1] == {"x-request-id": "r"} | forwarded


async def test_every_answer_says_not_to_guess_its_type() -> None:
    for call in (
        await get(Harness(), "/livez"),
        await get(Harness(), "/nowhere"),
        await chat(Harness()).run(),
    ):
        assert call.headers["x-content-type-options"] == "nosniff"


async def test_one_log_line_an_exchange(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "patchbay.access")
    harness = Harness()
    await get(harness, "/livez")
    await chat(harness, headers={"x_request_id": "mine"}).run()
    assert len(caplog.records) == 1
    assert re.fullmatch(r"POST /v1/chat/completions 200 \d\.\d{3}s mine", caplog.records[0].getMessage())


async def test_the_server_going_down_is_no_error() -> None:
    harness = Harness(gate=asyncio.Event())
    running = asyncio.create_task(chat(harness).run())
    await harness.service.asking.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert harness.service.cancelled.is_set() and harness.admission.inflight == 0

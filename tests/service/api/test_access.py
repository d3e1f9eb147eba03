"""What the access line tells of a request, and what no line ever tells."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pybase64
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from prometheus_client import CollectorRegistry

from service.api.sse import DONE
from service.domain import ChatRequest
from service.errors import EngineFailed, EngineUnavailable, FetchCause, MediaFetchFailed
from service.families import load_geometry
from service.pipeline.admission import Admission
from service.pipeline.chat import Pipeline
from service.pipeline.handover import Handles
from service.settings import EMBEDDED_MODEL
from service.telemetry.logs import TEXT, JsonFormatter
from service.telemetry.metrics import Metrics
from service.telemetry.timeline import Span
from tests.service import fakes
from tests.service.api.fakes import HIGH, LOW, Call, Harness, Reply, Service, chat, event

pytestmark = pytest.mark.anyio
GEOMETRY = load_geometry(EMBEDDED_MODEL)
SECRET = "Sesame-7f3a"
ROUTE = "/v1/chat/completions"
ANSWER = json.dumps(
    {
        "choices": [{"message": {"content": SECRET}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3},
    }
).encode()


@contextmanager
def logged(formatter: logging.Formatter, level: int = logging.DEBUG) -> Iterator[io.StringIO]:
    """Everything that the process logs, as it would be written."""
    written, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter)
    before = root.level
    root.addHandler(handler)
    root.setLevel(level)
    try:
        yield written
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


def lines(written: io.StringIO) -> list[dict[str, Any]]:
    told = [json.loads(line) for line in written.getvalue().splitlines()]
    return [line for line in told if line["logger"] == "patchbay.access"]


class Working(Service):
    """Spends its time as a real one would, and writes it down."""

    host = ""

    async def chat(self, request: ChatRequest, headers: Mapping[str, str]) -> Reply:
        began = request.record.timings.began
        request.record.timings.add(Span("fetch", began + 0.25, began + 0.5, self.host))
        if isinstance(self.reply, Reply):
            request.record.images = self.reply.images
        return await super().chat(request, headers)


async def line_of(reply: Reply | BaseException, **fields: Any) -> tuple[dict[str, Any], Harness]:
    harness = Harness(pipeline=Working(reply))
    with logged(JsonFormatter(), logging.INFO) as written:
        await chat(harness, headers={"x_request_id": "mine"}, **fields).run()
    (line,) = lines(written)
    return line, harness


async def test_an_answer_is_told_with_its_images_stages_and_tokens() -> None:
    line, _ = await line_of(Reply(ANSWER, images=[LOW, HIGH]))
    assert line["message"].startswith("POST /v1/chat/completions 200 ")
    told = {name: line[name] for name in ("request_id", "method", "route", "status", "model", "stream")}
    assert told == {
        "request_id": "mine",
        "method": "POST",
        "route": ROUTE,
        "status": 200,
        "model": "demo",
        "stream": False,
    }
    assert line["images"] == [
        {
            **{"width": 40, "height": 30, "processed": [224, 224], "placement": [0, 0, 224, 224]},
            **{"grid": [1, 1], "tiles": 1},
            **{"tokens": 16, "detail": "low", "cached": False, "reduced": False},
        },
        {
            **{"width": 640, "height": 480, "processed": [672, 672], "placement": [0, 84, 672, 504]},
            **{"grid": [3, 3], "tiles": 10},
            **{"tokens": 160, "detail": "high", "cached": True, "reduced": True},
        },
    ]
    assert line["usage"] == {"prompt_tokens": 9, "completion_tokens": 3}
    assert line["finish_reasons"] == ["stop"]
    assert line["client_left"] is False and not {"error", "cause"} & set(line)


async def test_a_key_is_told_by_its_name() -> None:
    harness = Harness(Reply(ANSWER), api_keys=["sk-secret"])
    with logged(JsonFormatter(), logging.INFO) as written:
        await chat(harness, headers={"authorization": "Bearer sk-secret"}).run()
    (line,) = lines(written)
    assert line["key"] == "key-1" and line["message"].endswith(" key=key-1")
    assert "sk-secret" not in json.dumps(line)
    assert harness.metric("key_requests_total", key="key-1", code="200") == 1


async def test_a_stream_is_told_like_any_other() -> None:
    frames = [
        event(choices=[{"delta": {"content": "a"}, "finish_reason": None}]),
        event(choices=[{"delta": {}, "finish_reason": "length"}]),
        event(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 2}),
    ]
    line, _ = await line_of(Reply(*frames, DONE), stream=True)
    assert (line["stream"], line["finish_reasons"]) == (True, ["length"])
    assert line["usage"] == {"prompt_tokens": 9, "completion_tokens": 2}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("reply", "status", "error"),
    [
        (EngineUnavailable("down", retry_after=1), 503, "engine_unavailable"),
        (ZeroDivisionError(SECRET), 500, "internal_error"),
        (Reply(event(choices=[]), EngineFailed("died")), 502, "engine_error"),
    ],
)
async def test_a_failure_is_told_by_its_code(
    reply: Reply | BaseException, status: int, error: str, stream: bool
) -> None:
    line, harness = await line_of(reply, stream=stream)
    assert (line["status"], line["error"], line["model"]) == (status, error, "demo")
    assert harness.metric("requests_total", route=ROUTE, model="demo", code=str(status)) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_the_cause_of_a_failed_fetch_is_told(stream: bool) -> None:
    line, harness = await line_of(MediaFetchFailed("no address", cause=FetchCause.DNS), stream=stream)
    assert (line["status"], line["error"], line["cause"]) == (424, "media_fetch_failed", "dns")
    assert line["message"].endswith(" mine error=media_fetch_failed cause=dns")
    assert harness.metric("fetch_failures_total", cause="dns") == 1


@pytest.mark.parametrize("reply", [Reply(ANSWER), MediaFetchFailed("late", cause=FetchCause.TIMEOUT)])
async def test_hosts_are_told_with_their_times_where_the_operator_wants_them(
    reply: Reply | BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "fetches" not in (await line_of(reply))[0]
    monkeypatch.setattr(Working, "host", "a.example")
    line, _ = await line_of(reply)
    (told,) = line["fetches"]
    assert " fetched from a.example in 0.2" in line["message"]
    assert told["host"] == "a.example" and math.isclose(told["ms"], 250, abs_tol=1)


async def test_a_client_that_left_is_told() -> None:
    harness = Harness(gate=asyncio.Event())
    call = chat(harness)
    with logged(JsonFormatter(), logging.INFO) as written:
        running = asyncio.create_task(call.run())
        await harness.service.asking.wait()
        call.leave()
        await running
    (line,) = lines(written)
    assert (line["status"], line["client_left"]) == (499, True)
    assert harness.metric("stage_duration_seconds_count", stage="total") == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "reply", [Reply(ANSWER), Reply(event(n=1), EngineFailed("died")), EngineFailed("died")]
)
async def test_the_stages_of_every_request_sum_to_its_total(
    reply: Reply | BaseException, stream: bool
) -> None:
    line, harness = await line_of(reply, stream=stream)
    assert math.isclose(sum(line["stages_ms"].values()), line["duration_ms"], abs_tol=0.01)
    sums = {
        sample.labels["stage"]: sample.value
        for family in harness.registry.collect()
        for sample in family.samples
        if sample.name == "patchbay_stage_duration_seconds_sum"
    }
    total = sums.pop("total")
    assert total > 0
    assert math.isclose(math.fsum(sums.values()), total, rel_tol=1e-9)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_what_machines_ask_all_the_time_is_quiet(path: str) -> None:
    with logged(JsonFormatter(), logging.INFO) as written:
        await Call(Harness().api, path, method="GET").run()
    assert lines(written) == []


def png() -> str:
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(stream, "PNG")
    return f"data:image/png;base64,{pybase64.b64encode(stream.getvalue()).decode()}"


def whole(reply: fakes.Reply | BaseException) -> Pipeline:
    """The real stages; engine and encoder are stand-ins."""
    metrics, engine = Metrics(CollectorRegistry()), fakes.Engine(reply)
    admission = Admission(max_inflight=4, max_visual_tokens=400)
    handover = Handles(fakes.Encoder(), admission, metrics, room=int)
    return fakes.pipeline(engine, GEOMETRY, handover, metrics)


def places(value: Any) -> Iterator[tuple[str | int, ...]]:
    """The way to each key and each string of a JSON value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (key,)
            yield from ((key, *rest) for rest in places(item))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from ((index, *rest) for rest in places(item))
    elif isinstance(value, str):
        yield ("",)


def with_secret(value: Any, place: tuple[str | int, ...], *, as_key: bool) -> Any:
    step, *rest = place
    if step == "" and not rest:
        return value + SECRET
    if isinstance(value, list):
        return [
            with_secret(item, tuple(rest), as_key=as_key) if i == step else item
            for i, item in enumerate(value)
        ]
    if rest:
        inner = with_secret(value[step], tuple(rest), as_key=as_key)
        return {**value, step: inner}
    return {(SECRET if as_key else step): (value[step] if as_key else SECRET), **value}


BODY: dict[str, Any] = {
    "model": "demo",
    "messages": [
        {"role": "system", "content": "be brief"},
        {
            "role": "user",
            "name": "me",
            "content": [
                {"type": "image_url", "image_url": {"url": png(), "detail": "high"}},
                {
                    "type": "image_url",
                    "image_url": {"url": "http://10.0.0.1/a.png?signature=", "detail": "low"},
                },
                {"type": "text", "text": "what?"},
            ],
        },
    ],
    "stop": ["x"],
    "user": "u",
    "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {}}}],
}
TEXT_ONLY = {**BODY, "messages": [{"role": "user", "content": "hi"}]}
ONE_IMAGE = {
    **BODY,
    "messages": [
        {"role": "user", "content": [BODY["messages"][1]["content"][0], {"type": "text", "text": "?"}]}
    ],
}
HEADERS = (
    "authorization",
    "cookie",
    "user_agent",
    "referer",
    "x_forwarded_for",
    "content_type",
    "tracestate",
)
BAD_ID = "not an id: "

replies = st.sampled_from(
    [
        lambda: fakes.Reply(ANSWER),
        lambda: fakes.Reply(event(choices=[{"delta": {"content": SECRET}}]), DONE),
        lambda: fakes.Reply(
            event(choices=[{"delta": {"content": "a"}}]) + event(error={"message": SECRET}) + DONE
        ),
        lambda: fakes.Reply(json.dumps({"error": {"message": SECRET, "type": SECRET}}).encode(), status=400),
        lambda: EngineFailed(SECRET),
        lambda: ValueError(SECRET),
    ]
)


@settings(max_examples=150)
@given(data=st.data(), body=st.sampled_from([BODY, TEXT_ONLY, ONE_IMAGE]), reply=replies)
def test_a_secret_anywhere_in_a_request_or_its_answer_is_in_no_line(
    data: st.DataObject, body: dict[str, Any], reply: Any
) -> None:
    stream = data.draw(st.booleans())
    place = data.draw(
        st.sampled_from([("header",), ("path",), ("query",), ("method",), ("id",), *places(body)])
    )
    headers: dict[str, str] = {}
    path, query, method = ROUTE, b"", "POST"
    match place:
        case ("header",):
            headers[data.draw(st.sampled_from(HEADERS))] = SECRET
        case ("path",):
            path = data.draw(st.sampled_from([f"/{SECRET}", f"/v1/models/{SECRET}", f"{ROUTE}/{SECRET}"]))
        case ("query",):
            query = SECRET.encode()
        case ("method",):
            method = SECRET
        case ("id",):
            headers["x_request_id"] = BAD_ID + SECRET
        case _:
            body = with_secret(body, place, as_key=data.draw(st.booleans()))
    raw = json.dumps({**body, "stream": stream}).encode()

    async def run() -> None:
        call = Call(Harness(pipeline=whole(reply())).api, path, raw, method=method, **headers)
        call.scope["query_string"] = query
        await call.run()

    with logged(JsonFormatter()) as as_json, logged(logging.Formatter(TEXT)) as as_text:
        asyncio.run(run())
    assert lines(as_json)
    assert SECRET not in as_json.getvalue()
    assert SECRET not in as_text.getvalue()


def test_the_search_would_find_a_secret() -> None:
    with logged(JsonFormatter()) as written:
        logging.getLogger("service.anything").debug("the url is %s", SECRET)
    assert SECRET in written.getvalue()

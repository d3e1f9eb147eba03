import asyncio
import json
from typing import Any

import pytest

from service.api.connection import ABORT, LAST_WORDS_SECONDS
from service.api.sse import DONE, KEEP_ALIVE, error_frame
from service.errors import (
    DeadlineExceeded,
    EngineFailed,
    EngineRejected,
    EngineUnavailable,
    InvalidImage,
    QueueFull,
)
from tests.service.api.fakes import HIGH, LOW, Call, Harness, Reply, chat, event
from tests.service.api.test_completion import SIZES
from tests.waiting import LoopClock

pytestmark = pytest.mark.anyio

DELTA = event(id="1", choices=[{"delta": {"content": "a"}}])
USAGE = event(id="1", choices=[], usage={"prompt_tokens": 9})
REQUESTS = "requests_total"
ROUTE = {"route": "/v1/chat/completions", "model": "demo"}


async def test_an_answer_in_one_piece() -> None:
    reply = Reply(b'{"choices":[],', b'"usage":{"prompt_tokens":9}}', images=[LOW, HIGH])
    harness = Harness(reply)
    call = await chat(harness, headers={"x_request_id": "mine"}).run()
    assert (call.status, call.headers["content-type"]) == (200, "application/json")
    assert json.loads(call.body)["usage"]["prompt_tokens_details"]["image_tokens"] == 176
    assert int(call.headers["content-length"]) == len(call.body)
    assert reply.closed.is_set()
    request, _ = harness.service.asked[0]
    assert (request.request_id, request.model, request.stream) == ("mine", "demo", False)
    assert harness.metric(REQUESTS, code="200", **ROUTE) == 1
    assert harness.admission.inflight == 0


async def test_text_alone_passes_byte_for_byte() -> None:
    raw = b'{ "usage" : {"prompt_tokens": 1.50} }'
    assert (await chat(Harness(Reply(raw))).run()).body == raw


async def test_a_stream_passes_frame_by_frame() -> None:
    stream = DELTA + DELTA + USAGE + DONE
    reply = Reply(*[stream[i : i + 7] for i in range(0, len(stream), 7)], images=[LOW])
    harness = Harness(reply)
    call = await chat(harness, stream=True, stream_options={"include_usage": True}).run()
    details = {"image_tokens": 16, "image_detail": ["low"], "images": SIZES[:1]}
    counted = {"prompt_tokens": 9, "prompt_tokens_details": details}
    assert call.body == DELTA + DELTA + event(id="1", choices=[], usage=counted) + DONE
    assert (call.status, call.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert call.ended and reply.closed.is_set()
    assert harness.metric("time_to_first_token_seconds_count") == 1
    assert harness.metric("inter_token_latency_seconds_count") == 2


async def test_a_frame_is_not_held_back() -> None:
    more = asyncio.Event()
    call = chat(Harness(Reply(DELTA, more, DONE)), stream=True)
    running = asyncio.create_task(call.run())
    await call.until(DELTA)
    assert call.body == DELTA
    more.set()
    await running


REFUSALS = [
    (QueueFull("full", retry_after=1.5), 429, "queue_full"),
    (EngineUnavailable("down", retry_after=3), 503, "engine_unavailable"),
    (EngineRejected("bad", status=422), 422, "engine_rejected"),
    (EngineFailed("died"), 502, "engine_error"),
    (DeadlineExceeded("late"), 504, "deadline_exceeded"),
    (InvalidImage("broken", param="messages[0].content[0].image_url.url"), 400, "invalid_image"),
    (ZeroDivisionError("secret"), 500, "internal_error"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("error, status, code", REFUSALS, ids=[code for _, _, code in REFUSALS])
async def test_a_refusal_is_a_real_status(error: Exception, status: int, code: str, stream: bool) -> None:
    harness = Harness(error)
    call = await chat(harness, stream=stream).run()
    assert (call.status, call.error["code"]) == (status, code)
    assert call.headers.get("retry-after") == {429: "2", 503: "3"}.get(status)
    assert "secret" not in str(call.error)
    assert harness.metric(REQUESTS, code=str(status), **ROUTE) == 1
    assert harness.admission.inflight == 0


@pytest.mark.parametrize("error", [EngineFailed("died"), ZeroDivisionError("secret")])
async def test_a_failure_before_the_first_frame_is_a_real_status_too(error: Exception) -> None:
    reply = Reply(error)
    call = await chat(Harness(reply), stream=True).run()
    assert call.status in (500, 502)
    assert reply.closed.is_set()


@pytest.mark.parametrize(
    "steps, code, message",
    [
        ((DELTA, EngineFailed("died")), "engine_error", "died"),
        ((DELTA, DeadlineExceeded("late")), "deadline_exceeded", "late"),
        ((DELTA + event(error={"message": "CUDA"}) + DONE,), "engine_error", "while it was answering"),
        ((DELTA,), "engine_error", "before it was complete"),
        ((DELTA, b"data: {", DONE[:-1]), "engine_error", "before it was complete"),
        ((DELTA, ZeroDivisionError("secret")), "internal_error", "log has the reason"),
    ],
)
async def test_a_late_failure_is_an_error_event_and_no_done(
    steps: tuple[Any, ...], code: str, message: str
) -> None:
    reply = Reply(*steps)
    harness = Harness(reply)
    call = await chat(harness, stream=True).run()
    assert call.status == 200 and call.body.startswith(DELTA) and call.ended
    error = json.loads(call.body.removeprefix(DELTA).removeprefix(b"data: "))["error"]
    assert error["code"] == code and message in error["message"]
    assert DONE not in call.body
    assert reply.closed.is_set()
    status = {"engine_error": "502", "deadline_exceeded": "504", "internal_error": "500"}[code]
    assert harness.metric(REQUESTS, code=status, **ROUTE) == 1


async def test_a_stream_that_broke_because_the_engine_died_says_when_to_come_back() -> None:
    reply = Reply(DELTA + event(error={"message": "EngineCore"}) + DONE)
    reply.death = EngineUnavailable("The engine is down.", retry_after=9)
    harness = Harness(reply)
    call = await chat(harness, stream=True).run()
    error = json.loads(call.body.removeprefix(DELTA).removeprefix(b"data: "))["error"]
    assert error["code"] == "engine_unavailable"
    assert harness.metric(REQUESTS, code="503", **ROUTE) == 1


async def test_a_body_takes_no_place_until_it_has_arrived() -> None:
    harness = Harness(max_inflight=1)
    call = chat(harness)
    receive = call._receive
    seen: list[tuple[int, int]] = []

    async def watched() -> Any:
        seen.append((harness.admission.arriving, harness.admission.inflight))
        return await receive()

    call._receive = watched  # type: ignore[method-assign]
    assert (await call.run()).status == 200
    assert seen[0] == (1, 0)
    assert (harness.admission.arriving, harness.admission.inflight) == (0, 0)


async def test_a_silent_stream_is_kept_alive() -> None:
    gate, more = asyncio.Event(), asyncio.Event()
    harness = Harness(Reply(DELTA[:9], more, DELTA[9:], DONE), gate=gate, keepalive=0.001)
    call = chat(harness, stream=True)
    running = asyncio.create_task(call.run())
    await call.until(KEEP_ALIVE)
    gate.set()
    seen = len(call.body)
    await call.until(call.body + KEEP_ALIVE)
    more.set()
    await running
    assert len(call.body) > seen
    assert call.body.replace(KEEP_ALIVE, b"") == DELTA + DONE
    assert harness.metric("time_to_first_token_seconds_count") == 1


async def test_a_refusal_after_a_comment_is_an_event() -> None:
    gate = asyncio.Event()
    refusal = EngineRejected("no", status=400)
    harness = Harness(refusal, gate=gate, keepalive=0.001)
    call = chat(harness, stream=True)
    running = asyncio.create_task(call.run())
    await call.until(KEEP_ALIVE)
    gate.set()
    await running
    assert call.status == 200
    assert call.body.replace(KEEP_ALIVE, b"") == error_frame(refusal)
    assert harness.metric(REQUESTS, code="400", **ROUTE) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_while_it_waits(stream: bool) -> None:
    harness = Harness(gate=asyncio.Event())
    call = chat(harness, stream=stream)
    running = asyncio.create_task(call.run())
    await harness.service.asking.wait()
    call.leave()
    await running
    assert harness.service.cancelled.is_set()
    assert call.sent == []
    assert harness.metric("cancelled_total", stage="waiting") == 1
    assert harness.metric(REQUESTS, code="499", **ROUTE) == 1
    assert harness.admission.inflight == 0


@pytest.mark.parametrize("keepalive", [60, 0.001])
async def test_a_client_that_leaves_within_a_stream(keepalive: float) -> None:
    reply = Reply(DELTA, asyncio.Event())
    harness = Harness(reply, keepalive=keepalive)
    call = chat(harness, stream=True)
    running = asyncio.create_task(call.run())
    await call.until(DELTA)
    call.leave()
    await running
    assert reply.closed.is_set()
    assert harness.metric("cancelled_total", stage="streaming") == 1
    assert harness.admission.inflight == 0


async def test_a_client_that_leaves_without_reading() -> None:
    """The server's send blocks: the stream must end all the same, and the engine with it."""
    reply = Reply(DELTA, asyncio.Event())
    harness = Harness(reply)
    call = chat(harness, stream=True)
    call.reads.clear()
    running = asyncio.create_task(call.run())
    await call.blocked.wait()
    call.leave()
    await running
    assert reply.closed.is_set() and harness.admission.inflight == 0


@pytest.mark.parametrize("keepalive", [60, 0.001])
async def test_a_client_that_does_not_read_until_the_requests_time_is_up(keepalive: float) -> None:
    """The engine is told, the place given back, and the connection ended: nothing can be said on it."""
    reply = Reply(DELTA, asyncio.Event())
    harness = Harness(reply, keepalive=keepalive, request_timeout=60)
    clock, ended = LoopClock(), asyncio.Event()
    call = chat(harness, stream=True)
    call.scope["extensions"] = {ABORT: ended.set}
    call.reads.clear()
    running = asyncio.create_task(call.run())
    await call.blocked.wait()
    assert harness.admission.inflight == 1
    clock.advance(59)
    await asyncio.sleep(0)
    assert not reply.closed.is_set()
    clock.advance(2)
    await running
    assert reply.closed.is_set() and ended.is_set() and harness.admission.inflight == 0
    assert call.sent == []
    assert harness.metric(REQUESTS, code="499", **ROUTE) == 1


async def test_a_client_that_reads_neither_a_comment_nor_that_its_time_is_up() -> None:
    gate = asyncio.Event()
    harness = Harness(DeadlineExceeded("late"), gate=gate, keepalive=0.001, request_timeout=60)
    call = chat(harness, stream=True)
    call.reads.clear()
    clock = LoopClock()
    running = asyncio.create_task(call.run())
    await until_blocked(call, clock)
    clock.advance(61)
    gate.set()
    while not running.done():
        clock.advance(LAST_WORDS_SECONDS)
        await asyncio.sleep(0)
    await running
    assert call.sent == [] and harness.admission.inflight == 0
    assert harness.metric("cancelled_total", stage="waiting") == 1


async def test_a_client_that_reads_again_is_told_that_its_time_was_up() -> None:
    more = asyncio.Event()
    harness = Harness(Reply(DELTA, more, DeadlineExceeded("late")), request_timeout=60)
    call = chat(harness, stream=True)
    clock = LoopClock()
    running = asyncio.create_task(call.run())
    await call.until(DELTA)
    call.reads.clear()
    clock.advance(61)
    more.set()
    await call.blocked.wait()
    clock.advance(LAST_WORDS_SECONDS - 1)
    await asyncio.sleep(0)
    call.reads.set()
    await running
    assert b'"deadline_exceeded"' in call.body and call.ended


async def test_an_answer_in_one_piece_that_is_not_read_gives_its_place_back() -> None:
    harness = Harness(Reply(b"{}"), request_timeout=60)
    call = chat(harness)
    call.reads.clear()
    clock = LoopClock()
    running = asyncio.create_task(call.run())
    await call.blocked.wait()
    clock.advance(61)
    await running
    assert call.sent == [] and harness.admission.inflight == 0
    assert harness.metric(REQUESTS, code="499", **ROUTE) == 1


async def until_blocked(call: Call, clock: LoopClock) -> None:
    while not call.blocked.is_set():
        clock.advance(0.001)
        await asyncio.sleep(0)


async def test_a_client_that_leaves_within_its_body() -> None:
    harness = Harness()
    call = Call(harness.api, "/v1/chat/completions", b'{"mess')
    call.whole = False
    await call.run()
    assert call.sent == []
    assert harness.metric("cancelled_total", stage="body") == 1
    assert harness.admission.inflight == 0


async def test_a_place_is_taken_before_the_body_is_read() -> None:
    gate = asyncio.Event()
    harness = Harness(gate=gate, max_inflight=1)
    first = chat(harness)
    running = asyncio.create_task(first.run())
    await harness.service.asking.wait()
    second = await chat(harness).run()
    assert (second.status, second.received) == (429, 0)
    assert second.headers["retry-after"] == "1"
    assert harness.metric("rejections_total", reason="queue_full") == 1
    gate.set()
    await running
    assert first.status == 200
    assert (await chat(harness).run()).status == 200


async def test_a_place_is_held_until_the_stream_has_ended() -> None:
    more = asyncio.Event()
    harness = Harness(Reply(DELTA, more, DONE))
    call = chat(harness, stream=True)
    running = asyncio.create_task(call.run())
    await call.until(DELTA)
    assert harness.admission.inflight == 1
    more.set()
    await running
    assert harness.admission.inflight == 0


async def test_a_draining_server() -> None:
    harness = Harness()
    harness.admission.drain()
    call = await chat(harness).run()
    assert (call.status, call.error["code"]) == (503, "draining")
    assert "retry-after" in call.headers


async def test_a_bad_body_reaches_nobody() -> None:
    harness = Harness()
    call = await chat(harness, image_embeds="x").run()
    assert (call.status, call.error["param"]) == (400, "image_embeds")
    assert harness.service.asked == []
    assert harness.metric(REQUESTS, code="400", route=ROUTE["route"], model="") == 1


@pytest.mark.parametrize(
    "body, headers, status, code",
    [
        (b"{}" * 60, {}, 413, "body_too_large"),
        (b"{}", {"content_length": "101"}, 413, "body_too_large"),
        (b"{}", {"content_type": "text/plain"}, 400, "invalid_value"),
        (b'{"messages":[{"role":"user","content":"x"}],"model":"nope"}', {}, 404, "model_not_found"),
    ],
)
async def test_bodies_that_are_refused(body: bytes, headers: dict[str, str], status: int, code: str) -> None:
    call = await Call(Harness(max_body_bytes=100).api, "/v1/chat/completions", body, **headers).run()
    assert (call.status, call.error["code"]) == (status, code)
    assert (call.headers.get("connection") == "close") == (status == 413)


async def test_an_unforeseen_error_is_told_by_its_request_id(caplog: pytest.LogCaptureFixture) -> None:
    call = await chat(Harness(ZeroDivisionError("secret"))).run()
    assert call.status == 500
    assert call.headers["x-request-id"] in call.error["message"]
    (told,) = [line for line in caplog.messages if line.startswith("unexpected error")]
    assert call.headers["x-request-id"] in told and "ZeroDivisionError" in told and "fakes.py" in told
    assert "secret" not in caplog.text

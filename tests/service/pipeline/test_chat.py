"""One request through the real stages with a real geometry; engine and encoder are stand-ins."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pybase64
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from service.domain import Caller, ChatRequest, Detail, ImageRef
from service.errors import (
    DeadlineExceeded,
    EngineFailed,
    EngineLost,
    EngineRejected,
    EngineUnavailable,
    ImageTooLarge,
    InvalidDataURL,
    InvalidRequest,
    RequestBlocked,
)
from service.families import load_geometry
from service.pipeline.admission import Admission
from service.pipeline.handover import Handles, PassThrough
from service.settings import EMBEDDED_MODEL
from service.telemetry.metrics import Metrics
from tests.service.fakes import Encoder, Engine, Reply, event, pipeline
from tests.waiting import LoopClock

pytestmark = pytest.mark.anyio
GEOMETRY = load_geometry(EMBEDDED_MODEL)
BODY = b'{"choices":[]}'


def room(rows: int) -> int:
    """In pages of 32 rows."""
    return -(-rows // 32) * 32


class Harness:
    def __init__(
        self,
        *replies: Reply | BaseException,
        passthrough: bool = False,
        by_priority: bool = False,
        timeout: float = 60,
    ) -> None:
        self.engine = Engine(*replies)
        self.encoder = Encoder()
        self.admission = Admission(max_inflight=4, max_visual_tokens=400)
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        handles = Handles(self.encoder, self.admission, metrics, room)
        handover = PassThrough(GEOMETRY) if passthrough else handles
        self.pipeline = pipeline(self.engine, GEOMETRY, handover, metrics, timeout, by_priority=by_priority)

    async def ask(self, request: ChatRequest) -> bytes:
        answer = await self.pipeline.chat(request, {})
        try:
            return b"".join([chunk async for chunk in answer.body()])
        finally:
            await answer.aclose()

    def all_given_back(self) -> bool:
        return self.admission.visual_reserved == 0 and all(lease.released for lease in self.encoder.leases)


def png(width: int = 40, height: int = 30, colour: str = "red") -> str:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(stream, "PNG")
    return f"data:image/png;base64,{pybase64.b64encode(stream.getvalue()).decode()}"


def request(*urls: str, detail: Detail = Detail.AUTO, text: str = "what?", **fields: Any) -> ChatRequest:
    parts: list[Mapping[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    refs = [
        ImageRef(url, detail, 0, i, f"messages[0].content[{i}].image_url.url") for i, url in enumerate(urls)
    ]
    return ChatRequest(
        payload={"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]},
        images=refs,
        model="m",
        stream=fields.pop("stream", False),
        include_usage=False,
        request_id="r",
        **fields,
    )


async def test_an_image_reaches_the_engine_as_a_handle() -> None:
    harness = Harness(Reply(BODY))
    assert await harness.ask(request(png())) == BODY
    part, text = harness.engine.asked[0]["messages"][0]["content"]
    assert (part["type"], part["uuid"]) == ("image_embeds", harness.encoder.leases[0].key)
    assert text == {"type": "text", "text": "what?"}
    assert harness.encoder.leases[0].released == [False]
    assert harness.all_given_back()


async def test_visual_tokens_are_permitted_as_they_are_stored() -> None:
    harness = Harness(Reply(BODY))
    asked = []
    visual = harness.admission.visual

    async def permit(rows: int, **who: Any) -> Any:
        asked.append(rows)
        return await visual(rows, **who)

    harness.admission.visual = permit  # type: ignore[method-assign]
    await harness.ask(request(png(colour="red"), png(colour="blue")))
    rows = [lease.tokens for lease in harness.encoder.leases]
    assert asked == [sum(map(room, rows))] and asked[0] > sum(rows)


async def test_caches_are_salted_for_each_caller_and_text_too() -> None:
    harness = Harness(Reply(BODY), Reply(BODY))
    await harness.ask(request(caller=Caller(name="a", tenant="salt")))
    await harness.ask(request())
    assert [asked.get("cache_salt") for asked in harness.engine.asked] == ["salt", None]


@pytest.mark.parametrize("by_priority", [True, False])
async def test_the_rank_is_the_engine_s_priority_where_it_goes_by_that(by_priority: bool) -> None:
    harness = Harness(Reply(BODY), by_priority=by_priority)
    await harness.ask(request(rank=7))
    assert harness.engine.asked[0].get("priority") == (7 if by_priority else None)


async def test_text_alone_passes_as_it_is() -> None:
    harness = Harness(Reply(BODY))
    asked = request()
    await harness.ask(asked)
    assert harness.engine.asked == [asked.payload]


async def test_an_image_token_in_the_text_stays_text() -> None:
    harness = Harness(Reply(BODY))
    await harness.ask(request(png(), text="<IMG_CONTEXT>"))
    text = harness.engine.asked[0]["messages"][0]["content"][1]["text"]
    assert "<IMG_CONTEXT>" not in text
    assert text.replace("\u200b", "") == "<IMG_CONTEXT>"


async def test_the_key_names_the_bytes_the_cut_and_the_tenant() -> None:
    harness = Harness(*[Reply(BODY) for _ in range(5)])
    large = png(400, 400)
    for asked in (
        request(large),
        request(large, detail=Detail.HIGH),
        request(large, detail=Detail.LOW),
        request(large, caller=Caller(name="other", tenant="other")),
        request(png(400, 400, "blue")),
    ):
        await harness.ask(asked)
    auto, high, low, tenant, blue = (lease.key for lease in harness.encoder.leases)
    assert auto == high
    assert len({auto, low, tenant, blue}) == 4


async def test_the_answer_tells_what_each_image_cost() -> None:
    harness = Harness(Reply(BODY))
    answer = await harness.pipeline.chat(request(png(400, 400), png(40, 40), detail=Detail.HIGH), {})
    assert [(image.tokens, image.detail, image.cached) for image in answer.images] == [
        (160, "high", False),
        (16, "high", False),
    ]
    await answer.aclose()


async def test_an_answer_left_early_quarantines_its_rows() -> None:
    reply = Reply(event(n=1), event(n=2))
    harness = Harness(reply)
    answer = await harness.pipeline.chat(request(png(), stream=True), {})
    body = answer.body()
    assert await anext(body) == event(n=1)
    await body.aclose()  # type: ignore[attr-defined]
    await answer.aclose()
    assert reply.closed
    assert harness.encoder.leases[0].released == [True]


async def test_a_handle_the_engine_cannot_read_is_encoded_again_and_asked_once_more() -> None:
    harness = Harness(Reply(b"", status=500), Reply(BODY))
    assert await harness.ask(request(png())) == BODY
    assert [lease.cached for lease in harness.encoder.leases] == [False, False]
    assert harness.all_given_back()


async def test_it_is_not_asked_a_third_time() -> None:
    harness = Harness(Reply(b"", status=500), Reply(b"", status=500))
    with pytest.raises(EngineFailed):
        await harness.ask(request(png()))
    assert len(harness.engine.asked) == 2
    assert harness.registry.get_sample_value("patchbay_handover_retries_total") == 1
    assert harness.all_given_back()


async def test_a_failure_without_images_is_the_engines_own() -> None:
    harness = Harness(Reply(b"", status=500))
    with pytest.raises(EngineFailed):
        await harness.ask(request())
    assert len(harness.engine.asked) == 1


async def test_an_engine_that_cannot_be_reached_is_waited_for_and_asked_once_more() -> None:
    harness = Harness(EngineUnavailable("refused", retry_after=1), Reply(BODY))
    assert await harness.ask(request(png())) == BODY
    assert harness.engine.waited == [3]
    assert len(harness.encoder.leases) == 1


async def test_an_engine_that_is_known_to_be_down_is_waited_for_before_it_is_asked() -> None:
    harness = Harness(Reply(BODY))
    harness.engine.ready = False
    assert await harness.ask(request(png())) == BODY
    assert harness.engine.waited == [3]
    assert len(harness.engine.asked) == 1


LOST = [EngineLost("reset", retry_after=1), EngineFailed("reset")]


@pytest.mark.parametrize("lost", LOST)
async def test_what_the_engine_had_when_it_died_is_not_sent_again(lost: BaseException) -> None:
    harness = Harness(lost)
    harness.engine.is_alive = False
    with pytest.raises(EngineUnavailable) as failed:
        await harness.ask(request(png()))
    assert failed.value.retry_after == 7
    assert len(harness.engine.asked) == 1
    assert harness.all_given_back()


@pytest.mark.parametrize("lost", LOST)
async def test_an_engine_that_has_been_restarted_meanwhile_has_died_too(lost: BaseException) -> None:
    harness = Harness(lost)

    async def restarted() -> bool:
        harness.engine.incarnation += 1
        return True

    harness.engine.alive = restarted  # type: ignore[method-assign]
    with pytest.raises(EngineUnavailable):
        await harness.ask(request())
    assert len(harness.engine.asked) == 1


async def test_a_connection_that_breaks_under_a_living_engine_is_tried_once_more() -> None:
    lost = EngineLost("reset", retry_after=1)
    assert await Harness(lost, Reply(BODY)).ask(request(png())) == BODY
    with pytest.raises(EngineLost):
        await Harness(lost, lost).ask(request(png()))


async def die_with(harness: Harness, asked: ChatRequest) -> None:
    """The request is in flight when the engine dies; then the next run of the engine begins."""
    harness.engine.replies.append(EngineLost("reset", retry_after=1))
    harness.engine.is_alive = False
    with pytest.raises(EngineUnavailable):
        await harness.ask(asked)
    harness.engine.is_alive = True
    harness.engine.incarnation += 1


async def test_a_request_in_flight_at_two_deaths_in_a_row_is_refused() -> None:
    harness = Harness()
    await die_with(harness, request(png(), text="deadly"))
    await die_with(harness, request(png(), text="deadly"))
    with pytest.raises(RequestBlocked):
        await harness.ask(request(png(), text="deadly"))
    harness.engine.replies.append(Reply(BODY))
    assert await harness.ask(request(png(), text="harmless")) == BODY


async def test_a_request_that_was_answered_between_two_deaths_is_not_refused() -> None:
    harness = Harness()
    await die_with(harness, request(png(), text="popular"))
    harness.engine.replies.append(Reply(BODY))
    assert await harness.ask(request(png(), text="popular")) == BODY
    await die_with(harness, request(png(), text="popular"))
    harness.engine.replies.append(Reply(BODY))
    assert await harness.ask(request(png(), text="popular")) == BODY


async def test_a_stream_that_ends_with_an_error_was_not_answered() -> None:
    """vLLM's server outlives its engine, and ends the stream in good order."""
    harness = Harness()
    for _ in range(2):
        harness.engine.replies.append(Reply(event(n=1)))
        answer = await harness.pipeline.chat(request(stream=True), {})
        async for _ in answer.body():
            pass
        harness.engine.is_alive = False
        with pytest.raises(EngineUnavailable):
            await answer.failed()
        await answer.aclose()
        harness.engine.is_alive = True
        harness.engine.incarnation += 1
    with pytest.raises(RequestBlocked):
        await harness.ask(request(stream=True))


async def test_a_stream_that_breaks_counts_as_in_flight_too() -> None:
    harness = Harness()
    for _ in range(2):
        harness.engine.replies.append(Reply(event(n=1)))
        answer = await harness.pipeline.chat(request(stream=True), {})
        harness.engine.is_alive = False
        with pytest.raises(EngineUnavailable):
            await answer.failed()
        await answer.aclose()
        harness.engine.is_alive = True
        harness.engine.incarnation += 1
    with pytest.raises(RequestBlocked):
        await harness.ask(request(stream=True))


async def test_a_broken_stream_of_a_living_engine_is_no_suspect() -> None:
    harness = Harness(Reply(event(n=1)))
    answer = await harness.pipeline.chat(request(stream=True), {})
    await answer.failed()
    await answer.aclose()


async def test_an_engine_that_stays_dead_is_told_with_the_time_to_come_back() -> None:
    harness = Harness(EngineUnavailable("refused", retry_after=1))
    harness.engine.is_alive = False
    with pytest.raises(EngineUnavailable) as failed:
        await harness.ask(request(png()))
    assert failed.value.retry_after == 7
    assert harness.all_given_back()


@pytest.mark.parametrize("stream", [False, True])
async def test_the_record_tells_the_images_and_every_stage_met(stream: bool) -> None:
    harness = Harness(EngineUnavailable("refused", retry_after=1), Reply(event(n=1), event(n=2)))
    asked = request(png(400, 400), stream=stream, detail=Detail.HIGH)
    await harness.ask(asked)
    (image,) = asked.record.images
    assert (image.width, image.height, image.tiles, image.tokens) == (400, 400, 10, 160)
    asking = "engine_first_token" if stream else "engine_answer"
    met = [span.stage for span in asked.record.timings.spans]
    assert met == ["admission", asking, "engine_wait", asking, "engine_answer"]


async def test_a_request_that_fails_still_tells_its_images_and_stages() -> None:
    harness = Harness(Reply(b'{"error":{"message":"bad n"}}', status=400))
    asked = request(png(), png())
    with pytest.raises(EngineRejected):
        await harness.ask(asked)
    assert [image.width for image in asked.record.images] == [40, 40]
    assert [span.stage for span in asked.record.timings.spans] == ["admission", "engine_answer"]


async def test_a_refusal_is_not_asked_again() -> None:
    harness = Harness(Reply(b'{"error":{"message":"bad n"}}', status=400))
    with pytest.raises(EngineRejected, match="bad n"):
        await harness.ask(request(png()))
    assert harness.all_given_back()


async def test_one_bad_image_refuses_the_request_before_anything_is_encoded() -> None:
    harness = Harness()
    with pytest.raises(InvalidDataURL) as refused:
        await harness.ask(request(png(), "data:image/png;base64,@@"))
    assert refused.value.param == "messages[0].content[1].image_url.url"
    assert not harness.encoder.leases
    assert not harness.engine.asked


async def test_images_that_are_too_much_together_are_refused_before_anything_is_decoded() -> None:
    harness = Harness()
    stream = io.BytesIO()
    Image.new("1", (7000, 7000)).save(stream, "PNG")
    large = f"data:image/png;base64,{pybase64.b64encode(stream.getvalue()).decode()}"
    with pytest.raises(ImageTooLarge, match="245000000 pixels .*max_request_image_pixels") as refused:
        await harness.ask(request(*[large] * 6))
    assert refused.value.param == "messages[0].content[4].image_url.url"
    assert not harness.encoder.leases
    assert harness.registry.get_sample_value("patchbay_image_tokens_total") == 0


async def test_the_deadline_ends_a_request_that_has_not_begun() -> None:
    harness = Harness(timeout=0.01)

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    harness.engine.post = never  # type: ignore[assignment]
    with pytest.raises(DeadlineExceeded, match="request_timeout"):
        await harness.ask(request(png()))
    assert harness.all_given_back()


async def test_the_deadline_ends_an_answer_that_stalls() -> None:
    reached = asyncio.Event()

    class Stalled(Reply):
        async def body(self) -> AsyncIterator[bytes]:
            yield b"data: {}\n\n"
            reached.set()
            await asyncio.Event().wait()

    stalled = Stalled()
    clock, harness = LoopClock(), Harness(stalled, timeout=60)
    answer = await harness.pipeline.chat(request(png(), stream=True), {})
    chunks = answer.body()
    assert await anext(chunks) == b"data: {}\n\n"
    rest = asyncio.ensure_future(anext(chunks))
    await reached.wait()
    clock.advance(61)
    with pytest.raises(DeadlineExceeded, match="request_timeout"):
        await rest
    await answer.aclose()
    assert stalled.closed
    assert harness.all_given_back()


def test_passthrough_has_nothing_to_encode_again() -> None:
    assert PassThrough(GEOMETRY).forget([]) is False


async def test_passthrough_sends_the_checked_bytes_and_the_level_of_detail() -> None:
    harness = Harness(Reply(BODY), passthrough=True)
    url = png(400, 400)
    await harness.ask(request(url, detail=Detail.LOW))
    asked = harness.engine.asked[0]
    part = asked["messages"][0]["content"][0]
    assert (part["type"], part["image_url"]) == ("image_url", {"url": url})
    assert asked["mm_processor_kwargs"] == GEOMETRY.processor_options("low")


async def test_passthrough_names_images_so_that_the_engine_s_caches_keep_callers_apart() -> None:
    harness = Harness(*[Reply(BODY)] * 3, passthrough=True)
    url = png(400, 400)
    for tenant in ("a", "a", "b"):
        await harness.ask(request(url, caller=Caller(name=tenant, tenant=tenant)))
    one, again, other = (asked["messages"][0]["content"][0]["uuid"] for asked in harness.engine.asked)
    assert one == again != other


async def test_passthrough_takes_images_that_auto_cuts_differently() -> None:
    harness = Harness(Reply(BODY), passthrough=True)
    await harness.ask(request(png(400, 400), png(40, 40)))
    assert not harness.engine.asked[0].get("mm_processor_kwargs")


async def test_passthrough_cannot_mix_levels() -> None:
    harness = Harness(passthrough=True)
    mixed = request(png(400, 400), png(400, 400))
    mixed = ChatRequest(
        payload=mixed.payload,
        images=[replace(ref, detail=level) for ref, level in zip(mixed.images, Detail, strict=False)],
        model="m",
        stream=False,
        include_usage=False,
        request_id="r",
    )
    with pytest.raises(InvalidRequest, match="low and high"):
        await harness.ask(mixed)

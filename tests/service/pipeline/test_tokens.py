"""Prompts are counted and tokenized by the engine, with images by their sizes; nothing is encoded or held."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from service.domain import Caller, ChatRequest, Detail, Route
from service.errors import EngineFailed, EngineUnavailable, InvalidDataURL
from service.families import load_geometry
from service.ingest import Fetcher, FetchLimits, ImageLimits, Ingest, URLPolicy
from service.pipeline.handover import Measures, PassThrough
from service.pipeline.images import ImageSizer
from service.pipeline.tokens import Tokens, prompt_of
from service.settings import EMBEDDED_MODEL
from service.telemetry.metrics import Metrics
from tests.service.fakes import Engine, Reply, pipeline
from tests.service.pipeline.test_chat import png, request

pytestmark = pytest.mark.anyio
GEOMETRY = load_geometry(EMBEDDED_MODEL)
SMALLEST = GEOMETRY.plan(1, 1, Detail.LOW).layout


class Harness:
    def __init__(
        self, *replies: Reply | BaseException, context: int = 4096, passthrough: bool = False
    ) -> None:
        self.engine = Engine(*replies)
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        ingest = Ingest(Fetcher(URLPolicy(), FetchLimits()), ImageLimits())
        sizer = ImageSizer(ingest, GEOMETRY, context)
        if passthrough:
            same = pipeline(self.engine, GEOMETRY, PassThrough(GEOMETRY), metrics)
            self.tokens = Tokens(counting=same, tokenizing=same)
        else:
            counting = pipeline(self.engine, GEOMETRY, Measures(SMALLEST), metrics, images=sizer)
            tokenizing = pipeline(self.engine, GEOMETRY, Measures(), metrics, images=sizer)
            self.tokens = Tokens(counting=counting, tokenizing=tokenizing)

    def layouts(self) -> list[list[int]]:
        """Those that the engine was sent last."""
        parts = self.engine.asked[-1]["messages"][0]["content"]
        return [part["image_embeds"]["soft_layout"] for part in parts if part["type"] == "image_embeds"]


def told(count: int) -> Reply:
    return Reply(json.dumps({"count": count, "max_model_len": 4096, "tokens": [1] * count}).encode())


async def test_images_count_by_their_sizes_and_the_engine_sees_the_smallest() -> None:
    harness = Harness(told(100))
    urls = [png(400, 400), png(40, 40), png(400, 100)]
    count = await harness.tokens.count(request(*urls, detail=Detail.HIGH), {})
    plans = [GEOMETRY.plan(*size, Detail.HIGH) for size in ((400, 400), (40, 40), (400, 100))]
    grown = sum(plan.layout.positions for plan in plans) - 3 * SMALLEST.positions
    assert count.prompt_tokens == 100 + grown and grown > 0
    assert count.images is not None
    assert [image.tokens for image in count.images] == [plan.tokens for plan in plans]
    (layout,) = {tuple(layout) for layout in harness.layouts()}
    assert sum(layout[1::3]) == SMALLEST.positions
    assert not {"cache_salt", "priority", "stream"} & harness.engine.asked[0].keys()


async def test_what_does_not_fit_is_counted_too() -> None:
    harness = Harness(told(60), context=100)
    count = await harness.tokens.count(request(png(400, 400), detail=Detail.HIGH), {})
    assert count.prompt_tokens > 100


async def test_nothing_is_counted_as_an_answered_request_is() -> None:
    harness = Harness(told(60))
    await harness.tokens.count(request(png(), caller=Caller(name="a", tenant="salt")), {})
    assert harness.registry.get_sample_value("patchbay_image_tokens_total") == 0


async def test_text_alone() -> None:
    harness = Harness(told(7))
    count = await harness.tokens.count(request(), {})
    assert (count.prompt_tokens, count.context, count.images, count.fits) == (7, 4096, [], True)


async def test_tokens_come_with_the_layout_that_each_image_has() -> None:
    harness = Harness(told(7))
    asked = request(png(400, 400), png(40, 40), detail=Detail.HIGH, route=Route.TOKENIZE)
    assert (await harness.tokens.ask(asked, {}))["count"] == 7
    assert [sum(layout[1::3]) for layout in harness.layouts()] == [162, 18]


async def test_a_text_and_tokens_go_to_the_engine_as_they_are() -> None:
    harness = Harness(told(7), Reply(b'{"prompt":"a"}'))
    for payload, route in (
        ({"prompt": "a", "model": "m"}, Route.TOKENIZE),
        ({"tokens": [1]}, Route.DETOKENIZE),
    ):
        asked = ChatRequest(payload, (), "m", False, False, "r", route=route)
        await harness.tokens.ask(asked, {})
        assert harness.engine.asked[-1] == payload


async def test_a_placeholder_in_a_text_is_broken_as_in_a_request_that_is_answered() -> None:
    harness = Harness(told(7))
    payload = {"prompt": "a <IMG_CONTEXT> b"}
    await harness.tokens.ask(ChatRequest(payload, (), "m", False, False, "r", route=Route.TOKENIZE), {})
    assert "<IMG_CONTEXT>" not in harness.engine.asked[0]["prompt"]


async def test_images_that_the_engine_encodes_itself_are_sent_to_it() -> None:
    harness = Harness(told(50), passthrough=True)
    count = await harness.tokens.count(request(png()), {})
    assert count.prompt_tokens == 50
    assert harness.engine.asked[0]["messages"][0]["content"][0]["image_url"]["url"].startswith(
        "data:image/png"
    )


@pytest.mark.parametrize("body", [b"", b"[]", b'{"count":"7","max_model_len":1}', b'{"count":true}'])
async def test_an_answer_that_is_none(body: bytes) -> None:
    with pytest.raises(EngineFailed):
        await Harness(Reply(body)).tokens.count(request(), {})


async def test_errors_are_those_of_every_request() -> None:
    harness = Harness(EngineUnavailable("down", retry_after=1), told(7))
    assert (await harness.tokens.count(request(), {})).prompt_tokens == 7
    assert harness.engine.waited == [3]
    with pytest.raises(InvalidDataURL):
        await harness.tokens.count(request("data:image/png;base64,@@@"), {})


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"reasoning_effort": "high"}, {"reasoning_effort": "high", "enable_thinking": True}),
        ({"reasoning_effort": "none"}, {"reasoning_effort": "none", "enable_thinking": False}),
        (
            {"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": False}},
            {"reasoning_effort": "low", "enable_thinking": False},
        ),
        ({"chat_template_kwargs": {"add_vision_id": True}}, {"add_vision_id": True}),
    ],
)
def test_the_template_gets_the_variables_that_the_chat_route_gives_it(
    given: dict[str, Any], sent: Mapping[str, Any]
) -> None:
    assert prompt_of(given)["chat_template_kwargs"] == sent


anything = st.dictionaries(
    st.sampled_from(["model", "messages", "tools", "temperature", "n", "stream"]), st.integers()
)


@given(anything)
def test_nothing_but_what_makes_the_prompt_is_sent(payload: dict[str, int]) -> None:
    kept = prompt_of(payload)
    assert kept == {name: value for name, value in payload.items() if name in ("model", "messages", "tools")}

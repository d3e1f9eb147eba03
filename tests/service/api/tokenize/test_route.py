"""The tokenizer's routes: admitted like every request, counted image by image, never answered by the model."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jsonschema
import pytest

from service.api.limits import RequestLimits
from service.api.openapi import document
from service.api.openapi_parts import REF
from service.domain import TokenCount
from service.errors import EngineRejected, EngineUnavailable
from tests.service.api.fakes import HIGH, LOW, Call, Harness, Tokenizer

pytestmark = pytest.mark.anyio
USER = {"role": "user", "content": "hi"}


def pictures(*details: str) -> list[dict[str, Any]]:
    parts = [
        {"type": "image_url", "image_url": {"url": "http://x/a.png", "detail": detail}} for detail in details
    ]
    return [{"role": "user", "content": parts}]


def post(harness: Harness, path: str, *, headers: dict[str, str] | None = None, **fields: Any) -> Call:
    return Call(harness.api, path, json.dumps(fields).encode(), **(headers or {}))


def harness(count: TokenCount | BaseException | None = None, **options: Any) -> Harness:
    return Harness(
        tokenizer=Tokenizer(count or TokenCount(prompt_tokens=200, context=4096, images=[])), **options
    )


async def test_a_count_tells_each_image_and_the_whole() -> None:
    count = TokenCount(prompt_tokens=200, context=200, images=[LOW, HIGH])
    told = harness(count)
    call = await post(
        told, "/v1/tokenize", messages=pictures("low", "high"), stream=True, model="org/other"
    ).run()
    assert call.status == 200
    body = json.loads(call.body)
    sums = ("prompt_tokens", "text_tokens", "image_tokens", "openai_image_tokens", "max_model_len", "fits")
    assert [body[name] for name in sums] == [200, 24, 176, 85 + 425, 200, False]
    assert body["model"] == "org/other"
    assert body["images"][1] == {
        "path": "messages[0].content[1].image_url.url",
        **{"width": 640, "height": 480, "processed": [672, 672], "placement": [0, 84, 672, 504]},
        **{"detail": "high", "grid": [3, 3], "tiles": 10, "tokens": 160, "openai_tokens": 425},
    }
    request, _ = told.tokenizer.asked[0]
    assert not request.stream


async def test_what_only_the_engine_knows_is_null() -> None:
    call = await post(
        harness(TokenCount(prompt_tokens=9, context=64, images=None)),
        "/v1/tokenize",
        messages=pictures("low"),
    ).run()
    body = json.loads(call.body)
    assert (body["prompt_tokens"], body["fits"], body["images"], body["image_tokens"]) == (
        9,
        True,
        None,
        None,
    )
    assert (body["text_tokens"], body["openai_image_tokens"]) == (None, None)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/tokenize", {"prompt": "a"}),
        ("/tokenize", {"messages": [USER]}),
        ("/detokenize", {"tokens": [1]}),
    ],
)
async def test_the_engine_s_own_answer(path: str, fields: dict[str, Any]) -> None:
    told = harness()
    call = await post(told, path, headers={"x_request_id": "mine"}, **fields).run()
    assert (call.status, json.loads(call.body)) == (200, Tokenizer.ANSWER)
    request, headers = told.tokenizer.asked[0]
    assert (request.route, headers["x-request-id"]) == (path, "mine")


@pytest.mark.parametrize("path", ["/v1/tokenize", "/tokenize", "/detokenize"])
async def test_a_key_is_required_and_a_place(path: str) -> None:
    told = harness(api_keys=["secret"], max_inflight=1)
    fields = {"tokens": [1]} if path == "/detokenize" else {"messages": [USER]}
    assert (await post(told, path, **fields).run()).status == 401
    key = {"authorization": "Bearer secret"}
    told.tokenizer.gate.clear()
    first = post(told, path, headers=key, **fields)
    running = asyncio.create_task(first.run())
    await told.tokenizer.asking.wait()
    assert (await post(told, path, headers=key, **fields).run()).error["code"] == "queue_full"
    told.tokenizer.gate.set()
    await running
    assert first.status == 200 and told.admission.inflight == 0
    assert told.metric("requests_total", route=path, model="", code="200") == 1
    # no answer of a model's: it does not count among their stages
    assert told.metric("stage_duration_seconds_count", stage="total") == 0


async def test_a_client_that_leaves_ends_the_work() -> None:
    told = harness()
    told.tokenizer.gate.clear()
    call = post(told, "/v1/tokenize", messages=[USER])
    running = asyncio.create_task(call.run())
    await told.tokenizer.asking.wait()
    call.leave()
    await running
    assert told.tokenizer.cancelled and told.admission.inflight == 0


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (EngineUnavailable("down", retry_after=3), 503, "engine_unavailable"),
        (EngineRejected("bad", status=400), 400, "engine_rejected"),
    ],
)
async def test_a_refusal_is_a_real_status(error: Exception, status: int, code: str) -> None:
    call = await post(harness(error), "/v1/tokenize", messages=[USER]).run()
    assert (call.status, call.error["code"]) == (status, code)


async def test_a_text_too_long_to_tokenize_is_refused_and_pictures_do_not_count() -> None:
    told = harness(max_tokenized_bytes=200)
    call = await post(told, "/tokenize", prompt="a" * 300).run()
    assert call.status == 400 and "at most 200 are tokenized" in call.error["message"]
    url = "data:image/png;base64," + "A" * 1000
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    assert (await post(told, "/tokenize", messages=messages).run()).status == 200


@pytest.mark.parametrize(
    ("context", "most"), [(None, 4 * 2**20), (10, 65536), (32768, 524288), (2**20, 4 * 2**20)]
)
def test_a_text_may_be_some_times_as_long_as_the_context(context: int | None, most: int) -> None:
    assert RequestLimits(context=context).tokenized_bytes == most


async def test_the_context_bounds_what_is_tokenized() -> None:
    told = harness(context=100)
    call = await post(told, "/tokenize", prompt="a" * 65536).run()
    assert call.status == 400 and "at most 65536 are tokenized" in call.error["message"]
    assert (await post(told, "/tokenize", prompt="a" * 65000).run()).status == 200


@pytest.mark.parametrize("images", [None, [], [LOW, HIGH]])
async def test_the_answer_is_as_the_document_has_it(images: Any) -> None:
    count = TokenCount(prompt_tokens=200, context=4096, images=images)
    call = await post(harness(count), "/v1/tokenize", messages=pictures(*["low"] * len(images or []))).run()
    schema = {"$ref": REF + "TokenCount", "components": document()["components"]}
    jsonschema.validate(json.loads(call.body), schema)

import json
from typing import Any

import pytest
from openai import AsyncOpenAI

from service.domain import TokenCount
from service.errors import ContextLengthExceeded, InvalidImage, PatchbayError
from tests.service.api.fakes import Call, Harness, Tokenizer
from tests.service.api.responses.test_translate import PIXEL
from tests.service.api.serving import served
from tests.waiting import DEADLOCK

pytestmark = pytest.mark.anyio
ROUTE = "/v1/responses/input_tokens"
LOOK = {
    "role": "user",
    "content": [{"type": "input_text", "text": "Look."}, {"type": "input_image", "image_url": PIXEL}],
}
COUNT = TokenCount(prompt_tokens=42, context=4096, images=None)


def counting(answer: TokenCount | PatchbayError = COUNT, **options: Any) -> Harness:
    return Harness(tokenizer=Tokenizer(answer), **options)


async def test_a_count() -> None:
    harness = counting()
    call = await Call(
        harness.api, ROUTE, json.dumps({"input": [LOOK], "instructions": "Be brief."}).encode()
    ).run()
    assert (call.status, json.loads(call.body)) == (
        200,
        {"object": "response.input_tokens", "input_tokens": 42},
    )
    request, _ = harness.tokenizer.asked[0]
    assert [message["role"] for message in request.payload["messages"]] == ["system", "user"]
    assert request.images[0].path == "input[0].content[1].image_url"
    assert harness.metric("requests_total", route=ROUTE, model="", code="200") == 1


@pytest.mark.parametrize(
    "error, param",
    [
        (InvalidImage("bad", param="messages[0].content[1].image_url"), "input[0].content[1].image_url"),
        (ContextLengthExceeded("long", param="messages"), "input"),
    ],
)
async def test_an_error_names_the_clients_own_field(error: PatchbayError, param: str) -> None:
    call = await Call(counting(error).api, ROUTE, json.dumps({"input": [LOOK]}).encode()).run()
    assert (call.status, call.error["param"]) == (400, param)


async def test_a_request_that_would_stream_is_counted_as_well() -> None:
    call = await Call(counting().api, ROUTE, b'{"input": "Hi", "stream": true}').run()
    assert (call.status, json.loads(call.body)["input_tokens"]) == (200, 42)


async def test_the_sdk_counts() -> None:
    async with (
        served(counting().api) as url,
        AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=DEADLOCK) as client,
    ):
        told = await client.responses.input_tokens.count(
            model="demo", input="Hi", text={"verbosity": "low"}, personality="friendly"
        )
    assert (told.object, told.input_tokens) == ("response.input_tokens", 42)


async def test_a_key_is_required() -> None:
    call = await Call(counting(api_keys=["sk-one"]).api, ROUTE, b'{"input": "Hi"}').run()
    assert call.status == 401


async def test_nothing_else_is_there() -> None:
    call = await Call(counting().api, ROUTE, b"", method="GET").run()
    assert (call.status, call.error["code"]) == (404, "not_stored")

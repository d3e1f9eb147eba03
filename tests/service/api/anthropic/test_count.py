import json
from typing import Any

import pytest

from service.domain import TokenCount
from service.errors import ContextLengthExceeded, InvalidImage, PatchbayError
from tests.service.api.anthropic.test_translate import HI, IMAGE, TEXT, TOOL, user
from tests.service.api.fakes import Call, Harness, Tokenizer

pytestmark = pytest.mark.anyio


def count(answer: TokenCount | PatchbayError, **options: Any) -> Harness:
    return Harness(tokenizer=Tokenizer(answer), **options)


def ask(harness: Harness, **body: Any) -> Call:
    return Call(harness.api, "/v1/messages/count_tokens", json.dumps(body).encode())


async def test_a_count() -> None:
    harness = count(TokenCount(prompt_tokens=42, context=4096, images=None))
    call = await ask(
        harness, model="demo", messages=[HI, user(IMAGE, TEXT)], system="Be brief.", tools=[TOOL]
    ).run()
    assert (call.status, json.loads(call.body)) == (200, {"input_tokens": 42})
    request, _ = harness.tokenizer.asked[0]
    assert [message["role"] for message in request.payload["messages"]] == ["system", "user"]
    assert request.images[0].path == "messages[1].content[0].source"
    assert harness.admission.inflight == 0
    assert harness.metric("requests_total", route="/v1/messages/count_tokens", model="", code="200") == 1


@pytest.mark.parametrize(
    "error, param",
    [
        (InvalidImage("bad", param="messages[0].content[0].source"), "messages[0].content[0].source"),
        (ContextLengthExceeded("long", param="messages"), "messages"),
    ],
)
async def test_errors_in_anthropics_words(error: PatchbayError, param: str) -> None:
    call = await ask(count(error), messages=[user(IMAGE)]).run()
    told = json.loads(call.body)
    assert (call.status, told["type"], told["error"]["param"]) == (400, "error", param)


async def test_a_key_is_required() -> None:
    answer = TokenCount(prompt_tokens=1, context=9, images=None)
    assert (await ask(count(answer, api_keys=["sk-one"]), messages=[HI]).run()).status == 401

"""Keys, versions, errors and ids, as Anthropic's clients know them."""

import json
from typing import Any

import pytest

from service.api.anthropic.errors import in_anthropics_words
from service.api.errors import STATUS
from service.errors import EngineUnavailable, InvalidImage, QueueFull
from tests.service.api.answers import Answering, completion
from tests.service.api.fakes import Call, Harness, Reply

pytestmark = pytest.mark.anyio
BODY = {"model": "demo", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}


def ask(harness: Harness, path: str = "/v1/messages", body: Any = BODY, **headers: str) -> Call:
    return Call(harness.api, path, json.dumps(body).encode(), **headers)


async def test_an_answer() -> None:
    harness = Harness(pipeline=Answering(completion("Red.")))
    call = await ask(harness, x_request_id="mine", anthropic_version="2023-06-01", anthropic_beta="a,b").run()
    assert call.status == 200
    assert json.loads(call.body)["content"] == [{"type": "text", "text": "Red."}]
    assert (call.headers["request-id"], call.headers["x-request-id"]) == ("mine", "mine")
    route = {"route": "/v1/messages", "model": "demo", "code": "200"}
    assert harness.metric("requests_total", **route) == 1
    assert harness.admission.inflight == 0


async def test_a_stream() -> None:
    harness = Harness(pipeline=Answering(completion("Red.")))
    call = await ask(harness, body=BODY | {"stream": True}).run()
    assert call.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert call.body.startswith(b"event: message_start\n") and b"[DONE]" not in call.body
    assert call.body.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
    assert harness.metric("time_to_first_token_seconds_count") == 1


@pytest.mark.parametrize(
    "headers, status",
    [
        ({"x_api_key": "sk-one"}, 200),
        ({"authorization": "Bearer sk-one"}, 200),
        ({"authorization": "Bearer sk-one", "x_api_key": "sk-other"}, 200),
        ({"x_api_key": "sk-other"}, 401),
        ({"x_api_key": ""}, 401),
        ({"authorization": "Bearer sk-other", "x_api_key": "sk-one"}, 401),
        ({}, 401),
    ],
)
async def test_a_key_in_either_header(headers: dict[str, str], status: int) -> None:
    harness = Harness(pipeline=Answering(completion("Red.")), api_keys=["sk-one"])
    call = await ask(harness, **headers).run()
    assert call.status == status
    if status == 401:
        told = json.loads(call.body)
        assert (told["type"], told["error"]["type"]) == ("error", "authentication_error")
        assert told["request_id"] == call.headers["request-id"]


async def test_a_key_of_this_form_opens_chat_too() -> None:
    harness = Harness(Reply(b"{}"), api_keys=["sk-one"])
    body = json.dumps({"messages": BODY["messages"]}).encode()
    call = await Call(harness.api, "/v1/chat/completions", body, x_api_key="sk-one").run()
    assert call.status == 200


@pytest.mark.parametrize("version", ["2023-01-01", "", "latest", "2023-06-01, 2026-10-21"])
async def test_a_version_that_is_not_spoken(version: str) -> None:
    call = await ask(Harness(), anthropic_version=version).run()
    error = json.loads(call.body)["error"]
    assert (call.status, error["type"], error["param"]) == (400, "invalid_request_error", "anthropic-version")
    assert "must be 2023-06-01" in error["message"] and version in error["message"]


@pytest.mark.parametrize(
    "error, status, kind",
    [
        (QueueFull("full", retry_after=2), 429, "rate_limit_error"),
        (EngineUnavailable("down", retry_after=2), 503, "overloaded_error"),
        (InvalidImage("bad", param="messages[0].content[0].source"), 400, "invalid_request_error"),
        (ZeroDivisionError("secret"), 500, "api_error"),
    ],
)
async def test_errors_in_anthropics_words(error: Exception, status: int, kind: str) -> None:
    call = await ask(Harness(error)).run()
    told = json.loads(call.body)
    assert (call.status, told["type"], told["error"]["type"]) == (status, "error", kind)
    assert "secret" not in str(told)
    assert ("retry-after" in call.headers) == (status in (429, 503))


async def test_every_status_has_a_word_of_anthropics() -> None:
    words = {in_anthropics_words({"error": {}}, status, "r")["error"]["type"] for status in STATUS.values()}
    assert words == {
        *("invalid_request_error", "authentication_error", "not_found_error", "request_too_large"),
        *("rate_limit_error", "overloaded_error", "timeout_error", "api_error"),
    }


@pytest.mark.parametrize("path, status", [("/v1/messages/batches", 404), ("/v1/messages", 405)])
async def test_the_routers_errors_too(path: str, status: int) -> None:
    call = await Call(Harness().api, path, method="GET").run()
    told = json.loads(call.body)
    kind = {404: "not_found_error", 405: "invalid_request_error"}[status]
    assert (call.status, told["type"], told["error"]["type"]) == (status, "error", kind)


async def test_other_routes_speak_openais() -> None:
    call = await Call(Harness().api, "/v1/messages_of_others", method="GET").run()
    assert "type" not in json.loads(call.body) and "request-id" not in call.headers

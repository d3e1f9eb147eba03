import json

import pytest

from service.errors import EngineFailed, EngineRejected, QueueFull
from tests.service.api.answers import Answering, completion, frames, streamed
from tests.service.api.fakes import Call, Harness, Reply

pytestmark = pytest.mark.anyio


def ask(harness: Harness, **fields: object) -> Call:
    return Call(harness.api, "/v1/responses", json.dumps({"input": "Hi"} | fields).encode())


async def test_an_answer() -> None:
    harness = Harness(pipeline=Answering(completion("Red.")))
    call = await ask(harness).run()
    assert (call.status, call.headers["content-type"]) == (200, "application/json")
    assert json.loads(call.body)["output"][0]["content"][0]["text"] == "Red."
    assert harness.metric("requests_total", route="/v1/responses", model="demo", code="200") == 1


async def test_a_stream_ends_with_the_response_and_no_done() -> None:
    harness = Harness(pipeline=Answering(completion("Red.")))
    call = await ask(harness, stream=True).run()
    events = frames(call.body)
    assert events[0]["type"] == "response.created" and events[-1]["type"] == "response.completed"
    assert harness.metric("time_to_first_token_seconds_count") == 1


async def test_a_refusal_before_the_first_event_is_a_real_status() -> None:
    call = await ask(Harness(QueueFull("full", retry_after=2)), stream=True).run()
    assert (call.status, call.error["code"], call.headers["retry-after"]) == (429, "queue_full", "2")


async def test_the_engines_word_for_a_field_is_not_the_clients() -> None:
    call = await ask(
        Harness(EngineRejected("max_completion_tokens: no", status=400, param="max_completion_tokens"))
    ).run()
    assert (call.status, call.error["param"]) == (400, "max_output_tokens")
    assert call.error["message"] == "max_output_tokens: no"


async def test_a_late_failure_is_an_error_event() -> None:
    begun = streamed(completion("Red."), iter([9]))[:2]
    reply = Reply(*[event.frame for event in begun], EngineFailed("It died."))
    harness = Harness(reply)
    call = await ask(harness, stream=True).run()
    last = frames(call.body)[-1]
    assert (call.status, last["type"], last["code"]) == (200, "error", "engine_error")
    assert reply.closed.is_set()
    assert harness.metric("requests_total", route="/v1/responses", model="demo", code="502") == 1


async def test_an_answer_that_is_none_is_a_failure_of_the_engine() -> None:
    assert (await ask(Harness(Reply(b"{}"))).run()).status == 502


@pytest.mark.parametrize(
    "method, path",
    [("GET", "resp_1"), ("DELETE", "resp_1"), ("POST", "resp_1/cancel"), ("GET", "resp_1/input_items")],
)
async def test_what_would_have_to_be_stored(method: str, path: str) -> None:
    call = await Call(Harness().api, f"/v1/responses/{path}", method=method).run()
    assert (call.status, call.error["code"]) == (404, "not_stored")
    assert f"/v1/responses/{path}" in call.error["message"]

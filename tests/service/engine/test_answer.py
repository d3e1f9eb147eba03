from typing import Any

import pytest

from service.engine.answer import Answer, ask
from service.errors import (
    ContextLengthExceeded,
    EngineFailed,
    EngineLost,
    EngineRejected,
    EngineUnavailable,
    PatchbayError,
)
from tests.service.fakes import Engine, Reply, event

pytestmark = pytest.mark.anyio


async def asked(reply: Reply, *, stream: bool = False) -> Answer:
    return await ask(Engine(reply), "/v1/chat/completions", {}, {}, stream=stream)


async def body(answer: Answer) -> bytes:
    return b"".join([chunk async for chunk in answer.body()])


async def test_a_whole_body_is_read_before_the_answer_counts() -> None:
    assert await body(await asked(Reply(b'{"a":', b"1}"))) == b'{"a":1}'


async def test_a_body_that_breaks_off_is_no_answer() -> None:
    reply = Reply(b'{"a":', EngineFailed("reset"))
    with pytest.raises(EngineFailed):
        await asked(reply)
    assert reply.closed


async def test_a_stream_begins_with_its_first_event_and_loses_no_byte() -> None:
    whole = event(n=1) + event(n=2)
    reply = Reply(whole[:5], whole[5:25], whole[25:], content_type="text/event-stream")
    answer = await asked(reply, stream=True)
    assert await body(answer) == whole
    assert not reply.closed
    await answer.aclose()
    assert reply.closed


ROLE = event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
SAID = event(choices=[{"index": 0, "delta": {"content": "red"}, "finish_reason": None}])


async def test_a_role_alone_is_no_answer_yet_and_comes_with_the_first_word() -> None:
    answer = await asked(Reply(ROLE, ROLE, SAID, event(n=2)), stream=True)
    assert [chunk async for chunk in answer.body()] == [ROLE + ROLE + SAID, event(n=2)]


@pytest.mark.parametrize(
    "opening",
    [
        event(choices=[{"delta": {"role": "assistant", "content": "red"}, "finish_reason": None}]),
        event(choices=[{"delta": {"role": "assistant", "content": ""}, "finish_reason": "stop"}]),
        event(choices=[{"delta": {"content": ""}, "finish_reason": None}]),
        event(choices=[], usage={}),
        b"data: [DONE]\n\n",
        b": comment\n\n",
    ],
)
async def test_everything_that_says_more_than_a_role_begins_the_answer(opening: bytes) -> None:
    assert await body(await asked(Reply(opening, SAID), stream=True)) == opening + SAID


@pytest.mark.parametrize(
    ("reply", "stream", "expected"),
    [
        (Reply(ROLE, event(error={"message": "x", "code": 500}), b"data: [DONE]\n\n"), True, EngineFailed),
        (Reply(ROLE), True, EngineFailed),
        (Reply(b'{"error":{"message":"no","code":500}}', status=500), False, EngineFailed),
        (Reply(b"gateway", status=502), False, EngineFailed),
        (Reply(b"", status=503), False, EngineUnavailable),
        (
            Reply(b'{"error":{"message":"EngineCore encountered an issue. See","code":500}}', status=500),
            False,
            EngineLost,
        ),
        (
            Reply(event(error={"message": "EngineCore encountered an issue. See", "code": 500})),
            True,
            EngineLost,
        ),
        (Reply(b'{"error":{"message":"bad n","param":"n","code":400}}', status=400), False, EngineRejected),
        (Reply(b"not json", status=400), False, EngineRejected),
        (
            Reply(b'{"error":{"message":"the maximum context length is 9 tokens"}}', status=400),
            False,
            ContextLengthExceeded,
        ),
        (Reply(event(error={"message": "x", "code": 500}), b"data: [DONE]\n\n"), True, EngineFailed),
        (Reply(event(error={"message": "x", "code": 400})), True, EngineRejected),
        (Reply(b""), True, EngineFailed),
        (Reply(b"data: half"), True, EngineFailed),
    ],
)
async def test_what_is_no_answer_is_an_error_and_closes_the_reply(
    reply: Reply, stream: bool, expected: type[PatchbayError]
) -> None:
    with pytest.raises(PatchbayError) as failed:
        await asked(reply, stream=stream)
    assert type(failed.value) is expected
    assert reply.closed


async def test_the_engines_refusal_keeps_its_words_and_its_field() -> None:
    error: dict[str, Any] = {"message": "bad n", "type": "BadRequestError", "param": "n", "code": 422}
    with pytest.raises(EngineRejected) as refused:
        await asked(Reply(b'{"error":%s}' % event(**error)[6:].strip(), status=422))
    assert (refused.value.status, refused.value.message, refused.value.param) == (422, "bad n", "n")


BAD_WORDS = "bad_words must tokenize. (parameter=bad_words, value=['(', ' ', '\\n)'])"
LONG = "the maximum context length is 9 tokens. (parameter=input_tokens, value=10)"


@pytest.mark.parametrize(
    "said, told, param",
    [
        (BAD_WORDS, "bad_words must tokenize.", "bad_words"),
        ("no (parameter=seed)", "no", None),
        ("top_k (of all) is bad (value=[1,\n2])", "top_k (of all) is bad", "top_k"),
        ("seed is bad", "seed is bad", None),
        ("Token id 9 is out of vocabulary", "Token id 9 is out of vocabulary", "prompt"),
        (LONG, "the maximum context length is 9 tokens.", "prompt"),
        (" (value=1)", "The engine answered with status 400.", None),
        (
            "14 validation errors:\n  {'type': 'literal_error', 'loc': 'body.messages.0.X.role', 'msg': \"In\"}",
            "The engine takes the request for malformed: messages.",
            "messages",
        ),
        ("1 validation error:\n  {}", "The engine takes the request for malformed.", None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_of_a_refusal_the_sentence_is_told_and_the_field(
    said: str, told: str, param: str | None, stream: bool
) -> None:
    frame = event(error={"message": said, "type": "BadRequestError", "param": None, "code": 400})
    reply = Reply(frame) if stream else Reply(frame.removeprefix(b"data: "), status=400)
    with pytest.raises(PatchbayError) as refused:
        await ask(
            Engine(reply), "/v1/completions", {"prompt": [9], "bad_words": [], "top_k": 1}, {}, stream=stream
        )
    error = refused.value
    assert (error.message, error.param, error.type) == (told, param, "invalid_request_error")


async def test_the_engines_inner_failures_are_not_told() -> None:
    with pytest.raises(EngineFailed) as failed:
        await asked(Reply(b'{"error":{"message":"CUDA at 0xdeadbeef"}}', status=500))
    assert "0x" not in failed.value.message

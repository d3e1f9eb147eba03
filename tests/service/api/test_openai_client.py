"""OpenAI's own client against the application, through a real server on a port of its own."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
import pytest

from service.api.sse import DONE
from service.errors import ArenaFull, EngineFailed, EngineUnavailable
from tests.service.api.fakes import HIGH, LOW, Harness, Reply, event
from tests.service.api.serving import served
from tests.waiting import DEADLOCK

pytestmark = pytest.mark.anyio
MESSAGES = [{"role": "user", "content": "hi"}]
HEAD = {"id": "c1", "created": 1, "model": "demo"}
USAGE = {"prompt_tokens": 190, "completion_tokens": 2, "total_tokens": 192}


def delta(text: str) -> bytes:
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    return event(**HEAD, object="chat.completion.chunk", choices=[choice])


COMPLETION = json.dumps(
    HEAD
    | {
        "object": "chat.completion",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
        ],
        "usage": USAGE,
    }
).encode()
FINAL = event(**HEAD, object="chat.completion.chunk", choices=[], usage=USAGE)


@asynccontextmanager
async def client(harness: Harness, *, key: str = "none") -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        served(harness.api) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=DEADLOCK) as asking,
    ):
        yield asking


async def test_an_answer_with_what_its_images_cost() -> None:
    async with client(Harness(Reply(COMPLETION, images=[LOW, HIGH]))) as ask:
        answer = await ask.chat.completions.create(model="demo", messages=MESSAGES)
    assert answer.choices[0].message.content == "hello"
    details = answer.usage.prompt_tokens_details.model_dump()
    assert (details["image_tokens"], details["image_detail"]) == (176, ["low", "high"])


async def test_a_stream_with_usage() -> None:
    harness = Harness(Reply(delta("hel"), delta("lo"), FINAL, DONE, images=[LOW]))
    async with client(harness) as ask:
        stream = await ask.chat.completions.create(
            model="demo", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content for chunk in chunks[:2]) == "hello"
    assert chunks[2].usage.prompt_tokens_details.model_dump()["image_tokens"] == 16


async def test_keep_alive_comments_go_unseen() -> None:
    gate = asyncio.Event()
    harness = Harness(Reply(delta("hello"), DONE), gate=gate, keepalive=0.001)
    async with client(harness) as ask:
        # the status comes with the first comment, while the service still works
        stream = await ask.chat.completions.create(model="demo", messages=MESSAGES, stream=True)
        gate.set()
        assert [chunk.choices[0].delta.content async for chunk in stream] == ["hello"]


async def test_a_late_failure_is_raised_and_not_a_normal_end() -> None:
    async with client(Harness(Reply(delta("hel"), EngineFailed("the engine died")))) as ask:
        stream = await ask.chat.completions.create(model="demo", messages=MESSAGES, stream=True)
        heard = []
        with pytest.raises(openai.APIError, match="the engine died") as raised:
            async for chunk in stream:
                heard.append(chunk.choices[0].delta.content)
    assert heard == ["hel"]
    assert raised.value.code == "engine_error"


@pytest.mark.parametrize(
    "reply, kind, status, code",
    [
        (ArenaFull("full", retry_after=2), openai.RateLimitError, 429, "visual_tokens_exhausted"),
        (EngineUnavailable("down", retry_after=2), openai.InternalServerError, 503, "engine_unavailable"),
        (EngineFailed("died"), openai.InternalServerError, 502, "engine_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_refusals_are_the_client_s_own_exceptions(
    reply: Exception, kind: type[openai.APIStatusError], status: int, code: str, stream: bool
) -> None:
    async with client(Harness(reply)) as ask:
        with pytest.raises(kind) as raised:
            await ask.chat.completions.create(model="demo", messages=MESSAGES, stream=stream)
    assert (raised.value.status_code, raised.value.code) == (status, code)
    assert raised.value.response.headers.get("retry-after") == ("2" if status != 502 else None)


async def test_a_bad_field_an_unknown_model_and_a_wrong_key() -> None:
    async with client(Harness(api_keys=["sk-one"]), key="sk-one") as ask:
        with pytest.raises(openai.BadRequestError) as bad:
            await ask.chat.completions.create(model="demo", messages=MESSAGES, extra_body={"cache_salt": "x"})
        assert bad.value.param == "cache_salt"
        with pytest.raises(openai.NotFoundError) as unknown:
            await ask.chat.completions.create(model="nope", messages=MESSAGES)
        assert unknown.value.code == "model_not_found"
        assert [model.id async for model in ask.models.list()] == ["demo", "org/other"]
        assert (await ask.models.retrieve("org/other")).id == "org/other"
        with pytest.raises(openai.AuthenticationError):
            await ask.with_options(api_key="sk-two").models.list()


async def test_a_client_that_closes_its_connection_ends_the_work() -> None:
    reply = Reply(delta("hel"), asyncio.Event())
    harness = Harness(reply)
    async with client(harness) as ask:
        stream = await ask.chat.completions.create(model="demo", messages=MESSAGES, stream=True)
        await anext(stream)
        await stream.close()
        async with asyncio.timeout(DEADLOCK):
            await reply.closed.wait()
            await harness.admission.idle()
    assert harness.metric("cancelled_total", stage="streaming") == 1


async def test_a_body_over_the_cap_gets_its_answer() -> None:
    async with client(Harness(max_body_bytes=1000)) as ask:
        with pytest.raises(openai.APIStatusError) as refused:
            await ask.chat.completions.create(
                model="demo", messages=[{"role": "user", "content": "x" * 100_000}]
            )
    assert (refused.value.status_code, refused.value.code) == (413, "body_too_large")

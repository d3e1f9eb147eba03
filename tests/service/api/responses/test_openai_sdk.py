"""Every field that the installed OpenAI SDK sends is accepted, listed as without effect, or refused with a reason."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.types import responses, shared_params
from openai.types.responses import (
    input_token_count_params,
    response_create_params,
    response_input_item_param,
)
from pydantic import BaseModel

from service.api.responses import fields, items
from service.api.wire import Wire, accepted_fields
from tests.service.api.answers import Answering, call, completion
from tests.service.api.fakes import Harness
from tests.service.api.serving import served
from tests.waiting import DEADLOCK

pytestmark = pytest.mark.anyio
SENT: list[tuple[type, type[Wire]]] = [
    (response_create_params.ResponseCreateParamsNonStreaming, fields.ResponsesFields),
    (response_create_params.ResponseCreateParamsStreaming, fields.ResponsesFields),
    (input_token_count_params.InputTokenCountParams, fields.ResponsesFields),
    (response_create_params.StreamOptions, fields.EventOptions),
    (shared_params.Reasoning, fields.ReasoningOptions),
    (responses.ResponseTextConfigParam, fields.TextOptions),
    (responses.ResponseFormatTextJSONSchemaConfigParam, fields.SchemaFormat),
    (responses.FunctionToolParam, fields.FunctionTool),
    (responses.ToolChoiceFunctionParam, fields.FunctionChoice),
    (responses.EasyInputMessageParam, items.InputUserMessage),
    (response_input_item_param.Message, items.InputSystemMessage),
    (responses.ResponseOutputMessageParam, items.OutputMessage),
    (responses.ResponseInputTextParam, items.InputText),
    (responses.ResponseInputImageParam, items.InputImage),
    (responses.ResponseOutputTextParam, items.OutputText),
    (responses.ResponseOutputRefusalParam, items.OutputRefusal),
    (responses.ResponseFunctionToolCallParam, items.FunctionCall),
    (response_input_item_param.FunctionCallOutput, items.FunctionCallOutput),
    (responses.ResponseReasoningItemParam, items.ReasoningItem),
]
SENT_BACK: list[tuple[type[BaseModel], type[Wire]]] = [
    (responses.ResponseOutputMessage, items.OutputMessage),
    (responses.ParsedResponseOutputMessage, items.OutputMessage),
    (responses.ResponseOutputText, items.OutputText),
    (responses.ParsedResponseOutputText, items.OutputText),
    (responses.ResponseFunctionToolCall, items.FunctionCall),
    (responses.ParsedResponseFunctionToolCall, items.FunctionCall),
    (responses.ResponseReasoningItem, items.ReasoningItem),
]


def known(kind: type[Wire]) -> set[str]:
    return {*accepted_fields(kind), *kind.ignored, *kind.refused}


@pytest.mark.parametrize("theirs, ours", SENT, ids=lambda kind: kind.__name__)
def test_what_the_sdk_can_send_is_known(theirs: type, ours: type[Wire]) -> None:
    assert typing.get_type_hints(theirs).keys() <= known(ours)


@pytest.mark.parametrize("theirs, ours", SENT_BACK, ids=lambda kind: kind.__name__)
def test_what_the_sdk_sends_back_is_known(theirs: type[BaseModel], ours: type[Wire]) -> None:
    names = {info.alias or name for name, info in theirs.model_fields.items()}
    assert names <= known(ours)


def test_what_the_sdk_can_ask_to_be_included_is_known() -> None:
    assert {*typing.get_args(responses.ResponseIncludable)} <= {*typing.get_args(fields.Include)}


@pytest.fixture
def answer() -> bytes:
    return completion("Red.", reasoning="Hm.", calls=[call("c1", "look", '{"x":1}')], reason="tool_calls")


async def asked(answer: bytes, ask: Any) -> Any:
    async with (
        served(Harness(pipeline=Answering(answer)).api) as url,
        AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=DEADLOCK) as client,
    ):
        return await ask(client.responses)


async def test_an_answer_and_a_conversation_that_goes_on(answer: bytes) -> None:
    async def ask(api: Any) -> None:
        first = await api.create(model="demo", input="What colour?")
        assert first.output_text == "Red." and first.usage.input_tokens == 20
        done = {"type": "function_call_output", "call_id": "c1", "output": "ok"}
        question = {"role": "user", "content": "What colour?"}
        again = await api.create(model="demo", input=[question, *first.output, done])
        assert again.status == "completed"

    await asked(answer, ask)


async def test_a_stream_is_put_together_by_the_sdk(answer: bytes) -> None:
    async def ask(api: Any) -> Any:
        async with api.stream(model="demo", input="What colour?") as stream:
            async for _ in stream:
                pass
            return await stream.get_final_response()

    final = await asked(answer, ask)
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call"]
    assert final.output_text == "Red." and final.output[2].arguments == '{"x":1}'


async def test_an_answer_is_parsed() -> None:
    class Colour(BaseModel):
        name: str

    async def ask(api: Any) -> Any:
        return await api.parse(model="demo", input="What colour?", text_format=Colour)

    assert (await asked(completion('{"name":"red"}'), ask)).output_parsed == Colour(name="red")

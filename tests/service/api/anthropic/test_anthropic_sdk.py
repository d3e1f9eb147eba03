"""Every field that the installed Anthropic SDK sends is accepted, without effect, or refused with a reason."""

from __future__ import annotations

import typing
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic, types
from anthropic.types import beta, message_count_tokens_params, message_create_params

from service.api.anthropic import blocks, fields
from service.api.wire import Wire, accepted_fields
from service.errors import EngineUnavailable
from tests.service.api.answers import Answering, call, completion
from tests.service.api.fakes import Harness
from tests.service.api.serving import served
from tests.waiting import DEADLOCK

pytestmark = pytest.mark.anyio
SENT: list[tuple[type, type[Wire]]] = [
    (message_create_params.MessageCreateParamsNonStreaming, fields.MessagesFields),
    (message_create_params.MessageCreateParamsStreaming, fields.MessagesFields),
    (message_count_tokens_params.MessageCountTokensParams, fields.CountFields),
    (types.ToolParam, fields.CustomTool),
    (types.ToolChoiceAutoParam, fields.AutoChoice),
    (types.ToolChoiceAnyParam, fields.AnyChoice),
    (types.ToolChoiceToolParam, fields.NamedChoice),
    (types.ToolChoiceNoneParam, fields.NoChoice),
    (types.ThinkingConfigEnabledParam, fields.ThinkingOptions),
    (types.ThinkingConfigAdaptiveParam, fields.ThinkingOptions),
    (types.ThinkingConfigDisabledParam, fields.ThinkingOptions),
    (types.OutputConfigParam, fields.OutputConfig),
    (types.JSONOutputFormatParam, fields.JsonFormat),
    (types.TextBlockParam, blocks.TextBlock),
    (types.ImageBlockParam, blocks.ImageBlock),
    (types.Base64ImageSourceParam, blocks.Base64Source),
    (types.URLImageSourceParam, blocks.URLSource),
    (types.ToolUseBlockParam, blocks.ToolUseBlock),
    (types.ToolResultBlockParam, blocks.ToolResultBlock),
    (types.ThinkingBlockParam, blocks.ThinkingBlock),
    (types.RedactedThinkingBlockParam, blocks.RedactedThinkingBlock),
]
SENT_BACK: list[tuple[type, type[Wire]]] = [
    (types.Message, blocks.AssistantTurn),
    (types.TextBlock, blocks.TextBlock),
    (types.ParsedTextBlock, blocks.TextBlock),
    (types.ParsedMessage, blocks.AssistantTurn),
    (types.ToolUseBlock, blocks.ToolUseBlock),
    (types.ThinkingBlock, blocks.ThinkingBlock),
]


def of_the_beta(pairs: list[tuple[type, type[Wire]]]) -> list[tuple[type, type[Wire]]]:
    """The types that `client.beta.messages` has in the place of those."""
    named = [(getattr(beta, f"Beta{theirs.__name__}", None), ours) for theirs, ours in pairs]
    return [(theirs, ours) for theirs, ours in named if theirs is not None]


SENT += of_the_beta(SENT) + [
    (beta.message_create_params.MessageCreateParamsNonStreaming, fields.MessagesFields),
    (beta.message_create_params.MessageCreateParamsStreaming, fields.MessagesFields),
    (beta.message_count_tokens_params.MessageCountTokensParams, fields.CountFields),
]
SENT_BACK += of_the_beta(SENT_BACK)
HI: Any = [{"role": "user", "content": "What colour?"}]
ANSWER = completion("Red.", reasoning="Hm.", calls=[call("t1", "look", '{"x":1}')], reason="tool_calls")


def known(kind: type[Wire]) -> set[str]:
    return {*accepted_fields(kind), *kind.ignored, *kind.refused}


@pytest.mark.parametrize("theirs, ours", SENT, ids=lambda kind: kind.__name__)
def test_what_the_sdk_can_send_is_known(theirs: type, ours: type[Wire]) -> None:
    assert typing.get_type_hints(theirs).keys() <= known(ours)


@pytest.mark.parametrize("theirs, ours", SENT_BACK, ids=lambda kind: kind.__name__)
def test_what_the_sdk_sends_back_is_known(theirs: Any, ours: type[Wire]) -> None:
    assert theirs.model_fields.keys() <= known(ours)


async def asked(harness: Harness, ask: Any, key: str = "none") -> Any:
    async with (
        served(harness.api) as url,
        AsyncAnthropic(base_url=url, api_key=key, max_retries=0, timeout=DEADLOCK) as client,
    ):
        return await ask(client.messages)


async def test_an_answer_and_a_conversation_that_goes_on() -> None:
    async def ask(api: Any) -> None:
        first = await api.create(model="demo", max_tokens=9, messages=HI)
        assert [block.type for block in first.content] == ["thinking", "text", "tool_use"]
        assert (first.stop_reason, first.content[2].input, first.usage.output_tokens) == (
            "tool_use",
            {"x": 1},
            7,
        )
        done = {"type": "tool_result", "tool_use_id": "t1", "content": "ok"}
        more = [*HI, {"role": "assistant", "content": first.content}, {"role": "user", "content": [done]}]
        assert (await api.create(model="demo", max_tokens=9, messages=more)).content

    await asked(Harness(pipeline=Answering(ANSWER)), ask)


async def test_a_stream_is_put_together_by_the_sdk() -> None:
    async def ask(api: Any) -> Any:
        async with api.stream(model="demo", max_tokens=9, messages=HI) as stream:
            text = "".join([text async for text in stream.text_stream])
            return text, await stream.get_final_message()

    text, final = await asked(Harness(pipeline=Answering(ANSWER)), ask)
    assert text == "Red." and final.content[2].input == {"x": 1}
    assert (final.stop_reason, final.usage.input_tokens, final.usage.output_tokens) == ("tool_use", 15, 7)


async def test_errors_are_those_that_the_sdk_knows() -> None:
    async def ask(api: Any) -> Any:
        return await api.create(model="demo", max_tokens=9, messages=HI)

    with pytest.raises(anthropic.AuthenticationError):
        await asked(Harness(api_keys=["sk-one"]), ask)
    with pytest.raises(anthropic.InternalServerError) as caught:
        await asked(Harness(EngineUnavailable("down", retry_after=1)), ask)
    assert caught.value.status_code == 503
    with pytest.raises(anthropic.BadRequestError) as wrong:
        await asked(Harness(), lambda api: api.create(model="demo", max_tokens=0, messages=HI))
    assert wrong.value.request_id and "max_tokens" in str(wrong.value)

"""The sections of `docs/api.md` about dialects other than chat completions."""

from __future__ import annotations

from collections.abc import Mapping

from service.api.anthropic import blocks
from service.api.anthropic.errors import TYPES
from service.api.anthropic.fields import CustomTool, MessagesFields, OutputConfig, ThinkingOptions
from service.api.responses import items
from service.api.responses.fields import (
    EventOptions,
    FunctionTool,
    ReasoningOptions,
    ResponsesFields,
    TextOptions,
)
from service.api.wire import Wire

IN_RESPONSES: dict[str, type[Wire]] = {
    "messages": items.OutputMessage,
    "`input_text`": items.InputText,
    "`input_image`": items.InputImage,
    "`output_text`": items.OutputText,
    "`refusal`": items.OutputRefusal,
    "`function_call`": items.FunctionCall,
    "`function_call_output`": items.FunctionCallOutput,
    "`reasoning` items": items.ReasoningItem,
    "a tool": FunctionTool,
    "`text`": TextOptions,
    "`reasoning`": ReasoningOptions,
    "`stream_options`": EventOptions,
}
IN_MESSAGES: dict[str, type[Wire]] = {
    "assistant messages": blocks.AssistantTurn,
    "`text`": blocks.TextBlock,
    "`image`": blocks.ImageBlock,
    "`tool_use`": blocks.ToolUseBlock,
    "`tool_result`": blocks.ToolResultBlock,
    "`thinking` blocks": blocks.ThinkingBlock,
    "`redacted_thinking`": blocks.RedactedThinkingBlock,
    "a tool": CustomTool,
    "`thinking`": ThinkingOptions,
    "`output_config`": OutputConfig,
}
"""What in a request has members without effect, and where they are read."""
RESPONSES = """
## The Responses API

`POST /v1/responses` is the same service in the form of OpenAI's newer API, and `POST /v1/responses/input_tokens` tells
how long the prompt of such a request would be, images included, without reading their pixels. What is said above of
images, structured output, limits, errors and `X-Patchbay-Details` holds here too; an error's `param` is a path in the
request that was sent, such as `input[0].content[1].image_url`.

Nothing is stored: `store` is accepted and comes back as `false`, and whatever refers to something stored is refused. A
conversation goes on by sending all of it as `input`: messages, the model's own output items as they were returned,
calls of functions and their outputs. `instructions` and what the developer says before the first message of another
role become one system prompt. Images (`input_image`) are allowed in user messages and in the outputs of functions.

Tools are functions of the client's. `include` takes OpenAI's values, of which `message.output_text.logprobs` has an
effect; so has `top_logprobs` alone. What a model thinks is returned as an item of type `reasoning`, in its `content`.
With `"stream": true` each event has its type as name and a `sequence_number`; the last is `response.completed`, or
`response.incomplete` for an answer that reached `max_output_tokens`. A failure within a stream is an event `error`.

| field | type | allowed |
|---|---|---|
"""
MESSAGES = """
## The Messages API

`POST /v1/messages` is the same service in the form of Anthropic's API, and `POST /v1/messages/count_tokens` tells how
long a prompt would be, images included, without reading their pixels. The base URL for Anthropic's clients is
`http://HOST:8000`, without `/v1`. A key may be sent as `x-api-key`; `anthropic-version` is `2023-06-01`, later, or
absent.

Images (`base64` or `url`) are allowed in user messages and in the results of tools; their `detail` is
`auto`. Tools have an `input_schema`. Messages of one role that follow one another are one message, and those of role
`system` join the system prompt. An answer continues the last message if that is the assistant's. What a model thinks is
returned as a block of type `thinking`; `thinking` switches it on or off for models that can do both, and its
`budget_tokens` has no effect, since `max_tokens` bounds thinking and answer together. `input_tokens` in `usage` does
not count what was found in the prefix cache, which is `cache_read_input_tokens`.

Errors are Anthropic's error object, with the statuses of the [table below](#errors); `param` and `code` are added to
it. Their types are {types}.

| field | type | allowed |
|---|---|---|
"""


def dialects(responses: str, messages: str) -> str:
    """The two sections, with the tables of their fields."""
    told = MESSAGES.format(types=_anthropics_types())
    of_responses = _not_used(ResponsesFields, IN_RESPONSES)
    return f"{RESPONSES}{responses}{of_responses}{told}{messages}{_not_used(MessagesFields, IN_MESSAGES)}"


def _not_used(model: type[Wire], within: Mapping[str, type[Wire]]) -> str:
    """Fields of a dialect's request that have no effect, members within it, and fields that are refused."""
    members = "".join(f"| {where} | {_names(kind.ignored)} |\n" for where, kind in within.items())
    rows = "".join(f"| `{name}` | {reason} |\n" for name, reason in sorted(model.refused.items()))
    return (
        f"\nAccepted without effect: {_names(model.ignored)}. So are members of what is in the request:\n\n"
        f"| in | without effect |\n|---|---|\n{members}"
        f"\nRefused unless the value is `null` or asks for nothing:\n\n| field | reason |\n|---|---|\n{rows}"
    )


def _names(fields: frozenset[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(fields))


def _anthropics_types() -> str:
    told = [f"`{kind}` for {status}" for status, kind in TYPES.items()]
    return f"{', '.join(told)}, and otherwise `invalid_request_error` or, from 500, `api_error`"

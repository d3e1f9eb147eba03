"""The sections of `docs/api.md` about dialects other than chat completions."""

from __future__ import annotations

from service.api.anthropic.errors import TYPES
from service.api.anthropic.fields import MessagesFields
from service.api.responses.fields import ResponsesFields
from service.api.wire import Wire

RESPONSES = """
## The Responses API

`POST /v1/responses` is the same service in the form of OpenAI's newer API. What is said above of images, structured
output, limits, errors and `X-Patchbay-Details` holds here too; an error's `param` is a path in the request that was
sent, such as `input[0].content[1].image_url`.

Nothing is stored: `store` is accepted and comes back as `false`, and whatever refers to something stored is refused. A
conversation goes on by sending all of it as `input`: messages, the model's own output items as they were returned,
calls of functions and their outputs. `instructions` and what the developer says before the first message of another
role become one system prompt. Images (`input_image`) are allowed in user messages and in the outputs of functions.

Tools are functions of the client's. What a model thinks is returned as an item of type `reasoning`, in its `content`.
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
    return f"{RESPONSES}{responses}{_not_used(ResponsesFields)}{told}{messages}{_not_used(MessagesFields)}"


def _not_used(model: type[Wire]) -> str:
    """Fields of a dialect's request that have no effect, and those that are refused."""
    rows = "".join(f"| `{name}` | {reason} |\n" for name, reason in sorted(model.refused.items()))
    names = ", ".join(f"`{name}`" for name in sorted(model.ignored))
    return (
        f"\nAccepted without effect: {names}. Refused unless the value is `null` or asks for "
        f"nothing:\n\n| field | reason |\n|---|---|\n{rows}"
    )


def _anthropics_types() -> str:
    told = [f"`{kind}` for {status}" for status, kind in TYPES.items()]
    return f"{', '.join(told)}, and otherwise `invalid_request_error` or, from 500, `api_error`"

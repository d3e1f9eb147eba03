"""The SDKs of OpenAI and Anthropic, in each of their APIs."""

from __future__ import annotations

from typing import Any, Literal

from tests.e2e.clients.asking import (
    BROKEN,
    COLOURS,
    ENDLESS,
    FOLLOWING,
    GREEDY,
    LASTING,
    LONG,
    MANY,
    MODEL,
    PAINTED,
    RED,
    SCHEMA,
    SHORT,
    YES,
    colour_of,
    did,
    in_chat,
    in_messages,
    in_responses,
    key,
    painted,
    refused,
    user,
)


def openai_chat(url: str) -> None:
    from openai import BadRequestError, OpenAI
    from pydantic import BaseModel, ConfigDict

    class Colour(BaseModel):
        model_config = ConfigDict(extra="forbid")
        colour: Literal["red", "blue"]

    client = OpenAI(base_url=f"{url}/v1", api_key=key(), max_retries=0)
    ask: Any = {"model": MODEL, "temperature": 0}
    create = client.chat.completions.create
    first = create(messages=in_chat(), **ask).choices[0].message
    did("image", first.content, RED)
    with client.chat.completions.stream(messages=in_chat(), **ask) as stream:
        streamed = stream.get_final_completion().choices[0].message
    did("stream", streamed.content, RED)
    for sent_back in (first, streamed, first.model_dump()):
        answer = create(messages=[*in_chat(), sent_back, *user(FOLLOWING)], **ask)
        assert answer.choices[0].message.content, sent_back
    did("turns", answer.choices[0].message.content, YES)
    tool = {"type": "function", "function": {"name": "paint", "parameters": SCHEMA, "strict": True}}
    chosen = {"type": "function", "function": {"name": "paint"}}
    forced: Any = {"tools": [tool], "tool_choice": chosen, "max_tokens": SHORT}
    called = create(messages=in_chat(), **forced, **ask).choices[0].message
    (call,) = called.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": PAINTED}
    told = create(messages=[*in_chat(), called, result], tools=[tool], max_tokens=SHORT, **ask).choices[0]
    painted(told.message.content, call.function.arguments)
    parsed = client.chat.completions.parse(
        messages=in_chat(), response_format=Colour, max_tokens=SHORT, **ask
    ).choices[0]
    assert parsed.message.parsed is not None
    did("structured", parsed.message.parsed.colour, *COLOURS)
    create(messages=[*in_chat(), parsed.message, *user(FOLLOWING)], **ask)
    with refused(BadRequestError, "messages[0].content[0].image_url.url"):
        create(messages=in_chat(BROKEN), **ask)
    endless: Any = {"max_tokens": LONG, "extra_body": ENDLESS}
    with create(messages=in_chat(), stream=True, **ask, **endless) as events:
        next(iter(events))
    did("abort", create(messages=in_chat(), **ask).choices[0].message.content, RED)


def openai_responses(url: str) -> None:
    from openai import BadRequestError, OpenAI

    client = OpenAI(base_url=f"{url}/v1", api_key=key(), max_retries=0)
    ask: Any = {"model": MODEL, "temperature": 0}
    create = client.responses.create
    first = create(input=in_responses(), **ask)
    did("image", first.output_text, RED)
    with client.responses.stream(input=in_responses(), **ask) as stream:
        streamed = stream.get_final_response()
    did("stream", streamed.output_text, RED)
    for sent_back in (first.output, streamed.output, [item.model_dump() for item in first.output]):
        answer = create(input=[*in_responses(), *sent_back, *user(FOLLOWING)], **ask)
        assert answer.output_text, sent_back
    did("turns", answer.output_text, YES)
    tool = {"type": "function", "name": "paint", "parameters": SCHEMA, "strict": True}
    chosen = {"type": "function", "name": "paint"}
    forced: Any = {"tools": [tool], "tool_choice": chosen, "max_output_tokens": SHORT}
    called = create(input=in_responses(), **forced, **ask).output
    (call,) = (item for item in called if item.type == "function_call")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": PAINTED}
    told = create(input=[*in_responses(), *called, result], tools=[tool], max_output_tokens=SHORT, **ask)
    painted(told.output_text, call.arguments)
    form: Any = {"format": {"type": "json_schema", "name": "colour", "schema": SCHEMA, "strict": True}}
    shaped = create(input=in_responses(), text=form, max_output_tokens=SHORT, **ask)
    did("structured", colour_of(shaped.output_text), *COLOURS)
    with refused(BadRequestError, "input[0].content[0].image_url"):
        create(input=in_responses(BROKEN), **ask)
    endless: Any = {"max_output_tokens": LONG, "text": {"format": LASTING}}
    with create(input=in_responses(), stream=True, **ask, **endless) as events:
        next(iter(events))
    did("abort", create(input=in_responses(), **ask).output_text, RED)


def anthropic_messages(url: str) -> None:
    from anthropic import Anthropic, BadRequestError

    client = Anthropic(base_url=url, api_key=key(), max_retries=0)
    ask: Any = {"model": MODEL, "max_tokens": SHORT, "extra_body": GREEDY}
    create = client.messages.create
    count = client.messages.count_tokens(model=MODEL, messages=in_messages()).input_tokens
    first = create(messages=in_messages(), **ask)
    assert count == first.usage.input_tokens + (first.usage.cache_read_input_tokens or 0)
    did("image", first.content[0].text, RED)
    with client.messages.stream(messages=in_messages(), **ask) as stream:
        streamed = stream.get_final_message()
    did("stream", streamed.content[0].text, RED)
    for sent_back in (first.content, streamed.content):
        answered = {"role": "assistant", "content": sent_back}
        answer = create(messages=[*in_messages(), answered, *user(FOLLOWING)], **ask)
        assert answer.content[0].text
    did("turns", answer.content[0].text, YES)
    tool = {"name": "paint", "input_schema": SCHEMA, "strict": True}
    chosen: Any = {"type": "tool", "name": "paint"}
    called = create(messages=in_messages(), tools=[tool], tool_choice=chosen, **ask).content
    (use,) = (block for block in called if block.type == "tool_use")
    result = {"type": "tool_result", "tool_use_id": use.id, "content": PAINTED}
    turns = [*in_messages(), {"role": "assistant", "content": called}, *user([result])]
    painted(create(messages=turns, tools=[tool], **ask).content[0].text, use.input)
    config: Any = {"format": {"type": "json_schema", "schema": SCHEMA}}
    shaped = create(messages=in_messages(), output_config=config, **ask)
    did("structured", colour_of(shaped.content[0].text), *COLOURS)
    # LiteLLM's proxy asks for a response in place of a message
    path = "messages[0].content[0].source" if key() == "none" else "input[0].content[0].image_url"
    with refused(BadRequestError, path):
        create(messages=in_messages("AAAA", "image/png"), **ask)
    many: Any = {
        **ask,
        "max_tokens": LONG,
        "output_config": {"format": {"type": "json_schema", "schema": MANY}},
    }
    with create(messages=in_messages(), stream=True, **many) as events:
        next(iter(events))
    did("abort", create(messages=in_messages(), **ask).content[0].text, RED)

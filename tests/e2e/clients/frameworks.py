"""What people build on: LiteLLM, LangChain, Pydantic AI, OpenAI's Agents SDK and Instructor."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from tests.e2e.clients.asking import (
    BROKEN,
    COLOURS,
    FOLLOWING,
    JPEG,
    MODEL,
    NO_BLANKS,
    QUESTION,
    RED,
    SCHEMA,
    SHORT,
    YES,
    colour_of,
    did,
    in_chat,
    in_responses,
    refused,
    user,
)

PAINT = {"type": "function", "function": {"name": "paint", "parameters": SCHEMA, "strict": True}}
FORCED: dict[str, Any] = {
    "tools": [PAINT],
    "tool_choice": {"type": "function", "function": {"name": "paint"}},
    "logit_bias": NO_BLANKS,
}


def _litellm(ask: dict[str, Any], strict: bool) -> None:
    import litellm

    first = litellm.completion(messages=in_chat(), **ask).choices[0].message
    did("image", first.content, RED)
    pieces = list(litellm.completion(messages=in_chat(), stream=True, **ask))
    did("stream", litellm.stream_chunk_builder(pieces).choices[0].message.content, RED)
    answer = litellm.completion(messages=[*in_chat(), first, *user(FOLLOWING)], **ask)
    did("turns", answer.choices[0].message.content, YES)
    if strict:
        called = litellm.completion(messages=in_chat(), **FORCED, **ask).choices[0].message
        did("tool", colour_of(called.tool_calls[0].function.arguments), *COLOURS)
    form = {"type": "json_schema", "json_schema": {"name": "colour", "schema": SCHEMA, "strict": True}}
    shaped = litellm.completion(messages=in_chat(), response_format=form, **ask)
    did("structured", colour_of(shaped.choices[0].message.content), *COLOURS)
    with refused(litellm.BadRequestError, "messages[0].content[0]"):
        litellm.completion(messages=in_chat(BROKEN), **ask)
    next(iter(litellm.completion(messages=in_chat(), stream=True, **ask)))
    did("abort", litellm.completion(messages=in_chat(), **ask).choices[0].message.content, RED)


def litellm_chat(url: str) -> None:
    ask = {"model": f"openai/{MODEL}", "api_base": f"{url}/v1", "api_key": "none"}
    _litellm({**ask, "temperature": 0, "max_tokens": SHORT}, strict=True)


def litellm_hosted_vllm(url: str) -> None:
    # it leaves out `strict`, and arguments are then whatever JSON the model writes
    ask = {"model": f"hosted_vllm/{MODEL}", "api_base": f"{url}/v1"}
    _litellm({**ask, "temperature": 0, "max_tokens": SHORT}, strict=False)


def litellm_anthropic(url: str) -> None:
    import litellm

    ask: Any = {"model": f"anthropic/{MODEL}", "api_base": url, "api_key": "none"}
    ask |= {"temperature": 0, "max_tokens": SHORT}
    first = litellm.completion(messages=in_chat(), **ask).choices[0].message
    did("image", first.content, RED)
    pieces = list(litellm.completion(messages=in_chat(), stream=True, **ask))
    did("stream", litellm.stream_chunk_builder(pieces).choices[0].message.content, RED)
    answer = litellm.completion(messages=[*in_chat(), first, *user(FOLLOWING)], **ask)
    did("turns", answer.choices[0].message.content, YES)
    with refused(litellm.BadRequestError, "messages[0].content[0].source"):
        litellm.completion(messages=in_chat(BROKEN), **ask)


def litellm_responses(url: str) -> None:
    import litellm

    ask: Any = {"model": f"openai/{MODEL}", "api_base": f"{url}/v1", "api_key": "none", "temperature": 0}
    first = litellm.responses(input=in_responses(), **ask)
    did("image", first.output[0].content[0].text, RED)
    events = litellm.responses(input=in_responses(), stream=True, **ask)
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    did("stream", said, RED)
    sent_back = [item.model_dump() for item in first.output]
    answer = litellm.responses(input=[*in_responses(), *sent_back, *user(FOLLOWING)], **ask)
    did("turns", answer.output[0].content[0].text, YES)
    with refused(litellm.BadRequestError, "input[0].content[0].image_url"):
        litellm.responses(input=in_responses(BROKEN), **ask)


def _langchain(url: str, responses: bool) -> None:
    from langchain_openai import ChatOpenAI
    from openai import BadRequestError
    from pydantic import BaseModel, ConfigDict

    class Colour(BaseModel):
        """The colour of something."""

        model_config = ConfigDict(extra="forbid")
        colour: Literal["red", "blue"]

    model = ChatOpenAI(
        model=MODEL,
        base_url=f"{url}/v1",
        api_key="none",
        temperature=0,
        max_tokens=SHORT,
        max_retries=0,
        use_responses_api=responses,
    )
    first = model.invoke(in_chat())
    did("image", first.text, RED)
    did("stream", "".join(chunk.text for chunk in model.stream(in_chat())), RED)
    did("turns", model.invoke([*in_chat(), first, *user(FOLLOWING)]).text, YES)
    biased: Any = {"extra_body": {"logit_bias": NO_BLANKS}}
    called = model.bind_tools([Colour], tool_choice="Colour", strict=True, **biased).invoke(in_chat())
    did("tool", colour_of(called.tool_calls[0]["args"]), *COLOURS)
    shaped = model.with_structured_output(Colour, method="json_schema").invoke(in_chat())
    did("structured", shaped.colour, *COLOURS)
    with refused(BadRequestError, "content[0].image_url"):
        model.invoke(in_chat(BROKEN))
    next(iter(model.stream(in_chat())))
    did("abort", model.invoke(in_chat()).text, RED)


def langchain_chat(url: str) -> None:
    _langchain(url, responses=False)


def langchain_responses(url: str) -> None:
    _langchain(url, responses=True)


def _pydantic_ai(model: Any) -> None:
    from pydantic import BaseModel
    from pydantic_ai import Agent, BinaryContent, NativeOutput
    from pydantic_ai.exceptions import ModelHTTPError

    class Colour(BaseModel):
        colour: Literal["red", "blue"]

    settings: Any = {"temperature": 0, "max_tokens": SHORT}
    agent = Agent(model, model_settings=settings)
    asked = [BinaryContent(JPEG, media_type="image/jpeg"), QUESTION]

    async def ask_all() -> None:
        first = await agent.run(asked)
        did("image", first.output, RED)
        async with agent.run_stream(asked) as streamed:
            did("stream", await streamed.get_output(), RED)
        did("turns", (await agent.run(FOLLOWING, message_history=first.all_messages())).output, YES)
        offering = Agent(model, model_settings=settings)

        @offering.tool_plain
        def paint(colour: str) -> str:
            """Paints the wall."""
            return colour

        assert (await offering.run(asked)).output
        shaped = await Agent(model, output_type=NativeOutput(Colour), model_settings=settings).run(asked)
        did("structured", shaped.output.colour, *COLOURS)
        with refused(ModelHTTPError, "content[0].image_url"):
            await agent.run([BinaryContent(b"\0\0\0", media_type="image/png"), QUESTION])
        async with agent.run_stream(asked) as left:
            async for _ in left.stream_text(delta=True):
                break
        did("abort", (await agent.run(asked)).output, RED)

    asyncio.run(ask_all())


def pydantic_ai_chat(url: str) -> None:
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    _pydantic_ai(OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=f"{url}/v1", api_key="none")))


def pydantic_ai_responses(url: str) -> None:
    from pydantic_ai.models.openai import OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=f"{url}/v1", api_key="none")
    _pydantic_ai(OpenAIResponsesModel(MODEL, provider=provider))


def _agents(url: str, responses: bool) -> None:
    from agents import (
        Agent,
        ModelSettings,
        OpenAIChatCompletionsModel,
        OpenAIResponsesModel,
        Runner,
        function_tool,
        set_tracing_disabled,
    )
    from openai import AsyncOpenAI, BadRequestError
    from pydantic import BaseModel

    class Colour(BaseModel):
        colour: Literal["red", "blue"]

    @function_tool
    def paint(colour: str) -> str:
        """Paints the wall."""
        return colour

    set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    kind = OpenAIResponsesModel if responses else OpenAIChatCompletionsModel
    settings: Any = {
        "model": kind(model=MODEL, openai_client=client),
        "model_settings": ModelSettings(temperature=0, max_tokens=SHORT),
    }
    agent = Agent(name="Painter", tools=[paint], **settings)

    async def ask_all() -> None:
        first = await Runner.run(agent, in_responses())
        did("image", first.final_output, RED)
        streamed = Runner.run_streamed(agent, in_responses())
        async for _ in streamed.stream_events():
            pass
        did("stream", streamed.final_output, RED)
        second = await Runner.run(agent, [*first.to_input_list(), *user(FOLLOWING)])
        did("turns", second.final_output, YES)
        shaped = await Runner.run(Agent(name="Shaper", output_type=Colour, **settings), in_responses())
        did("structured", shaped.final_output.colour, *COLOURS)
        with refused(BadRequestError, "content[0].image_url"):
            await Runner.run(agent, in_responses(BROKEN))

    asyncio.run(ask_all())


def agents_chat(url: str) -> None:
    _agents(url, responses=False)


def agents_responses(url: str) -> None:
    _agents(url, responses=True)


def instructor_schema(url: str) -> None:
    import instructor
    from openai import OpenAI
    from pydantic import BaseModel

    class Colour(BaseModel):
        colour: Literal["red", "blue"]

    plain = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    client = instructor.from_openai(plain, mode=instructor.Mode.JSON_SCHEMA)
    ask: Any = {"model": MODEL, "response_model": Colour, "temperature": 0, "max_retries": 1}
    did("image")
    did("structured", client.chat.completions.create(messages=in_chat(), **ask).colour, *COLOURS)
    *_, last = client.chat.completions.create_partial(messages=in_chat(), **ask)
    did("stream", last.colour, *COLOURS)
    with refused(Exception, "messages[0].content[0].image_url.url"):
        client.chat.completions.create(messages=in_chat(BROKEN), **ask)

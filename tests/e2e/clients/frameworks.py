"""What people build on: LiteLLM, LangChain, Pydantic AI, OpenAI's Agents SDK and Instructor."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from tests.e2e.clients.asking import (
    BROKEN,
    COLOURS,
    ENDLESS,
    FOLLOWING,
    JPEG,
    LASTING,
    LONG,
    MANY,
    MODEL,
    PAINTED,
    QUESTION,
    RED,
    SCHEMA,
    SHORT,
    YES,
    colour_of,
    did,
    in_chat,
    in_responses,
    painted,
    refused,
    user,
)

PAINT: dict[str, Any] = {"type": "function", "function": {"name": "paint", "parameters": SCHEMA}}
"""Without `strict`, which several clients leave out whatever they are given."""
FORCED: dict[str, Any] = {
    "tools": [PAINT],
    "tool_choice": {"type": "function", "function": {"name": "paint"}},
}
FORM: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {"name": "colour", "schema": SCHEMA, "strict": True},
}


def _litellm(ask: dict[str, Any], path: str, endless: dict[str, Any]) -> None:
    """`path` is that of an image in an error."""
    import litellm

    ask |= {"temperature": 0, "max_tokens": SHORT}
    first = litellm.completion(messages=in_chat(), **ask).choices[0].message
    did("image", first.content, RED)
    pieces = list(litellm.completion(messages=in_chat(), stream=True, **ask))
    did("stream", litellm.stream_chunk_builder(pieces).choices[0].message.content, RED)
    answer = litellm.completion(messages=[*in_chat(), first, *user(FOLLOWING)], **ask)
    did("turns", answer.choices[0].message.content, YES)
    called = litellm.completion(messages=in_chat(), **FORCED, **ask).choices[0].message
    (call,) = called.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": PAINTED}
    answer = litellm.completion(messages=[*in_chat(), called, result], tools=[PAINT], **ask)
    painted(answer.choices[0].message.content, call.function.arguments)
    shaped = litellm.completion(messages=in_chat(), response_format=FORM, **ask)
    did("structured", colour_of(shaped.choices[0].message.content), *COLOURS)
    with refused(litellm.BadRequestError, path):
        litellm.completion(messages=in_chat(BROKEN), **ask)
    left = litellm.completion(messages=in_chat(), stream=True, **{**ask, "max_tokens": LONG}, **endless)
    next(iter(left))
    left.close()
    did("abort", litellm.completion(messages=in_chat(), **ask).choices[0].message.content, RED)


def litellm_chat(url: str) -> None:
    ask = {"model": f"openai/{MODEL}", "api_base": f"{url}/v1", "api_key": "none"}
    _litellm(ask, "messages[0].content[0]", {"extra_body": ENDLESS})


def litellm_hosted_vllm(url: str) -> None:
    ask = {"model": f"hosted_vllm/{MODEL}", "api_base": f"{url}/v1"}
    _litellm(ask, "messages[0].content[0]", {"extra_body": ENDLESS})


def litellm_anthropic(url: str) -> None:
    ask = {"model": f"anthropic/{MODEL}", "api_base": url, "api_key": "none"}
    many = {"type": "json_schema", "json_schema": {"name": "many", "schema": MANY}}
    _litellm(ask, "messages[0].content[0].source", {"response_format": many})


def litellm_responses(url: str) -> None:
    import litellm

    ask: Any = {"model": f"openai/{MODEL}", "api_base": f"{url}/v1", "api_key": "none", "temperature": 0}
    streams = {"litellm_provider": "openai", "mode": "responses", "supports_native_streaming": True}
    litellm.register_model({ask["model"]: streams})
    first = litellm.responses(input=in_responses(), **ask)
    did("image", first.output[0].content[0].text, RED)
    events = litellm.responses(input=in_responses(), stream=True, **ask)
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    did("stream", said, RED)
    sent_back = [item.model_dump() for item in first.output]
    answer = litellm.responses(input=[*in_responses(), *sent_back, *user(FOLLOWING)], **ask)
    did("turns", answer.output[0].content[0].text, YES)
    tool = {"type": "function", **PAINT["function"]}
    chosen = {"type": "function", "name": "paint"}
    forced = {"tools": [tool], "tool_choice": chosen, "max_output_tokens": SHORT}
    called = litellm.responses(input=in_responses(), **forced, **ask).output
    (call,) = (item for item in called if item.type == "function_call")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": PAINTED}
    sent_back = [item.model_dump() for item in called]
    answer = litellm.responses(input=[*in_responses(), *sent_back, result], tools=[tool], **ask)
    painted(answer.output[0].content[0].text, call.arguments)
    form = {"type": "json_schema", **FORM["json_schema"]}
    shaped = litellm.responses(input=in_responses(), text={"format": form}, **ask)
    did("structured", colour_of(shaped.output[0].content[0].text), *COLOURS)
    with refused(litellm.BadRequestError, "input[0].content[0].image_url"):
        litellm.responses(input=in_responses(BROKEN), **ask)
    endless = {"max_output_tokens": LONG, "text": {"format": LASTING}}
    next(iter(litellm.responses(input=in_responses(), stream=True, **endless, **ask)))
    did("abort", litellm.responses(input=in_responses(), **ask).output[0].content[0].text, RED)


def _langchain(url: str, responses: bool) -> None:
    from langchain_core.messages import ToolMessage
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
    called = model.bind_tools([Colour], tool_choice="Colour").invoke(in_chat())
    (call,) = called.tool_calls
    result = ToolMessage(PAINTED, tool_call_id=call["id"])
    told = model.bind_tools([Colour]).invoke([*in_chat(), called, result])
    painted(told.text, call["args"])
    shaped = model.with_structured_output(Colour, method="json_schema").invoke(in_chat())
    did("structured", shaped.colour, *COLOURS)
    with refused(BadRequestError, "content[0].image_url"):
        model.invoke(in_chat(BROKEN))
    length = {"max_output_tokens" if responses else "max_tokens": LONG}
    next(iter(model.stream(in_chat(), extra_body=ENDLESS, **length)))
    did("abort", model.invoke(in_chat()).text, RED)


def langchain_chat(url: str) -> None:
    _langchain(url, responses=False)


def langchain_responses(url: str) -> None:
    _langchain(url, responses=True)


def _pydantic_ai(model: Any) -> None:
    from pydantic import BaseModel
    from pydantic_ai import Agent, BinaryContent, NativeOutput
    from pydantic_ai.capabilities import AbstractCapability
    from pydantic_ai.exceptions import ModelHTTPError

    class Colour(BaseModel):
        colour: Literal["red", "blue"]

    class FirstPaints(AbstractCapability[Any]):
        def get_model_settings(self) -> Any:
            return lambda run: {"tool_choice": ["paint"]} if run.run_step == 1 else {}

    settings: Any = {"temperature": 0, "max_tokens": SHORT}
    agent = Agent(model, model_settings=settings)
    asked = [BinaryContent(JPEG, media_type="image/jpeg"), QUESTION]

    async def ask_all() -> None:
        first = await agent.run(asked)
        did("image", first.output, RED)
        async with agent.run_stream(asked) as streamed:
            did("stream", await streamed.get_output(), RED)
        did("turns", (await agent.run(FOLLOWING, message_history=first.all_messages())).output, YES)
        painting = Agent(model, model_settings=settings, capabilities=[FirstPaints()])
        calls = []

        @painting.tool_plain
        def paint(colour: Literal["red", "blue"]) -> str:
            """Paints the wall."""
            calls.append({"colour": colour})
            return PAINTED

        told = (await painting.run(asked)).output
        (call,) = calls
        painted(told, call)
        shaped = await Agent(model, output_type=NativeOutput(Colour), model_settings=settings).run(asked)
        did("structured", shaped.output.colour, *COLOURS)
        with refused(ModelHTTPError, "content[0].image_url"):
            await agent.run([BinaryContent(b"\0\0\0", media_type="image/png"), QUESTION])
        endless: Any = {"max_tokens": LONG, "extra_body": ENDLESS}
        async with agent.run_stream(asked, model_settings=endless) as left:
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

    calls = []

    @function_tool
    def paint(colour: Literal["red", "blue"]) -> str:
        """Paints the wall."""
        calls.append({"colour": colour})
        return PAINTED

    set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    kind = OpenAIResponsesModel if responses else OpenAIChatCompletionsModel
    model = kind(model=MODEL, openai_client=client)
    plainly: Any = {"temperature": 0, "max_tokens": SHORT}
    settings: Any = {"model": model, "model_settings": ModelSettings(**plainly)}
    agent = Agent(name="Painter", tools=[paint], **settings)
    # what is forced is forced once: the agent resets it behind a call
    forced = ModelSettings(tool_choice="paint", **plainly)
    painting = Agent(name="Painter", tools=[paint], model=model, model_settings=forced)

    async def ask_all() -> None:
        first = await Runner.run(agent, in_responses())
        did("image", first.final_output, RED)
        streamed = Runner.run_streamed(agent, in_responses())
        async for _ in streamed.stream_events():
            pass
        did("stream", streamed.final_output, RED)
        second = await Runner.run(agent, [*first.to_input_list(), *user(FOLLOWING)])
        did("turns", second.final_output, YES)
        told = (await Runner.run(painting, in_responses())).final_output
        (call,) = calls
        painted(told, call)
        shaped = await Runner.run(Agent(name="Shaper", output_type=Colour, **settings), in_responses())
        did("structured", shaped.final_output.colour, *COLOURS)
        with refused(BadRequestError, "content[0].image_url"):
            await Runner.run(agent, in_responses(BROKEN))
        endless = ModelSettings(temperature=0, max_tokens=LONG, extra_body=ENDLESS)
        left = Runner.run_streamed(Agent(name="Talker", model=model, model_settings=endless), in_responses())
        async for event in left.stream_events():
            if event.type == "raw_response_event":
                left.cancel()
        did("abort", (await Runner.run(agent, in_responses())).final_output, RED)

    asyncio.run(ask_all())


def agents_chat(url: str) -> None:
    _agents(url, responses=False)


def agents_responses(url: str) -> None:
    _agents(url, responses=True)


def instructor_schema(url: str) -> None:
    import instructor
    from instructor.core import InstructorRetryException
    from openai import AsyncOpenAI, OpenAI
    from pydantic import BaseModel, Field

    class Colour(BaseModel):
        colour: Literal["red", "blue"]

    class Colours(BaseModel):
        colours: Annotated[list[Literal["red"]], Field(min_length=400)]

    class Reply(BaseModel):
        answer: Literal["yes", "no"]

    plain = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    client = instructor.from_openai(plain, mode=instructor.Mode.JSON_SCHEMA)
    caller = instructor.from_openai(plain, mode=instructor.Mode.TOOLS)
    ask: Any = {"model": MODEL, "temperature": 0, "max_retries": 1}
    colour, first = client.chat.completions.create_with_completion(
        messages=in_chat(), response_model=Colour, **ask
    )
    did("image", colour.colour, RED)
    did("structured", colour.colour, *COLOURS)
    *_, last = client.chat.completions.create_partial(messages=in_chat(), response_model=Colour, **ask)
    did("stream", last.colour, RED)
    turns = [*in_chat(), first.choices[0].message.model_dump(), *user(FOLLOWING)]
    did(
        "turns", client.chat.completions.create(messages=turns, response_model=Reply, **ask).answer, YES, "no"
    )
    used, called = caller.chat.completions.create_with_completion(
        messages=in_chat(), response_model=Colour, **ask
    )
    (call,) = called.choices[0].message.tool_calls
    assert call.function.name == "Colour"
    result = {"role": "tool", "tool_call_id": call.id, "content": PAINTED}
    turns = [*in_chat(), called.choices[0].message, result]
    told = plain.chat.completions.create(model=MODEL, messages=turns, temperature=0, max_tokens=SHORT)
    painted(told.choices[0].message.content, {"colour": used.colour})
    with refused(InstructorRetryException, "messages[0].content[0].image_url.url"):
        client.chat.completions.create(messages=in_chat(BROKEN), response_model=Colour, **ask)

    async def leave() -> None:
        # its other client returns a stream when it has ended
        streaming = instructor.from_openai(
            AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0),
            mode=instructor.Mode.JSON_SCHEMA,
        )
        left = streaming.chat.completions.create_partial(messages=in_chat(), response_model=Colours, **ask)
        async for _ in left:
            break
        await left.aclose()

    asyncio.run(leave())
    again = client.chat.completions.create(messages=in_chat(), response_model=Colour, **ask)
    did("abort", again.colour, RED)

"""One question by each client in its own way, run by a Python that has the clients and nothing of Patchbay.

`python asks.py NAME URL` prints the answer of the server at URL.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

MODEL = "patchbay-demo"
QUESTION = "What colour is the star?"
"""In the picture, it is red."""
GREEDY = {"temperature": 0}
JPEG = (Path(__file__).parents[3] / "demo" / "scenes" / "shapes.jpg").read_bytes()
BASE64 = base64.b64encode(JPEG).decode()
DATA_URL = f"data:image/jpeg;base64,{BASE64}"

IN_CHAT: Any = [{"type": "image_url", "image_url": {"url": DATA_URL}}, {"type": "text", "text": QUESTION}]
IN_RESPONSES: Any = [
    {"type": "input_image", "image_url": DATA_URL, "detail": "auto"},
    {"type": "input_text", "text": QUESTION},
]
IN_MESSAGES: Any = [
    {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": BASE64}},
    {"type": "text", "text": QUESTION},
]


def user(content: Any) -> list[Any]:
    return [{"role": "user", "content": content}]


def openai_chat(url: str) -> str:
    from openai import OpenAI

    client = OpenAI(base_url=f"{url}/v1", api_key="none")
    first = client.chat.completions.create(model=MODEL, messages=user(IN_CHAT), temperature=0)
    talk = [*user(IN_CHAT), first.choices[0].message, *user(QUESTION)]
    client.chat.completions.create(model=MODEL, messages=talk, max_tokens=4)
    return str(first.choices[0].message.content)


def openai_responses(url: str) -> str:
    from openai import OpenAI

    client = OpenAI(base_url=f"{url}/v1", api_key="none")
    first = client.responses.create(model=MODEL, input=user(IN_RESPONSES), temperature=0)
    talk = [*user(IN_RESPONSES), *first.output, *user(QUESTION)]
    client.responses.create(model=MODEL, input=talk, max_output_tokens=4)
    return first.output_text


def openai_responses_stream(url: str) -> str:
    from openai import OpenAI

    client = OpenAI(base_url=f"{url}/v1", api_key="none")
    with client.responses.stream(model=MODEL, input=user(IN_RESPONSES), temperature=0) as stream:
        return "".join(event.delta for event in stream if event.type == "response.output_text.delta")


def anthropic_messages(url: str) -> str:
    from anthropic import Anthropic

    client = Anthropic(base_url=url, api_key="none")
    count = client.messages.count_tokens(model=MODEL, messages=user(IN_MESSAGES)).input_tokens
    answer = client.messages.create(model=MODEL, messages=user(IN_MESSAGES), max_tokens=16, extra_body=GREEDY)
    usage = answer.usage
    assert count == usage.input_tokens + (usage.cache_read_input_tokens or 0)
    return answer.content[0].text


def anthropic_stream(url: str) -> str:
    from anthropic import Anthropic

    client = Anthropic(base_url=url, api_key="none")
    with client.messages.stream(
        model=MODEL, messages=user(IN_MESSAGES), max_tokens=16, extra_body=GREEDY
    ) as stream:
        return stream.get_final_message().content[0].text


def litellm_chat(url: str) -> str:
    import litellm

    ask: dict[str, Any] = {"model": f"openai/{MODEL}", "api_base": f"{url}/v1", "api_key": "none"}
    first = litellm.completion(messages=user(IN_CHAT), temperature=0, **ask)
    talk = [*user(IN_CHAT), first.choices[0].message, *user(QUESTION)]
    litellm.completion(messages=talk, max_tokens=4, **ask)
    return str(first.choices[0].message.content)


def litellm_responses(url: str) -> str:
    import litellm

    answer = litellm.responses(
        model=f"openai/{MODEL}", api_base=f"{url}/v1", api_key="none", input=user(IN_RESPONSES), temperature=0
    )
    return str(answer.output[0].content[0].text)


def litellm_anthropic(url: str) -> str:
    import litellm

    answer = litellm.completion(
        model=f"anthropic/{MODEL}",
        api_base=url,
        api_key="none",
        messages=user(IN_CHAT),
        max_tokens=16,
        temperature=0,
    )
    return str(answer.choices[0].message.content)


def _langchain(url: str, responses: bool) -> str:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(
        model=MODEL, base_url=f"{url}/v1", api_key="none", temperature=0, use_responses_api=responses
    )
    return "".join(chunk.text for chunk in model.stream(user(IN_CHAT)))


def langchain_chat(url: str) -> str:
    return _langchain(url, responses=False)


def langchain_responses(url: str) -> str:
    return _langchain(url, responses=True)


def _pydantic_ai(model: Any) -> str:
    from pydantic_ai import Agent, BinaryContent

    agent = Agent(model, model_settings={"temperature": 0, "max_tokens": 16})
    first = agent.run_sync([BinaryContent(JPEG, media_type="image/jpeg"), QUESTION])
    agent.run_sync(QUESTION, message_history=first.all_messages())
    return str(first.output)


def pydantic_ai_chat(url: str) -> str:
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return _pydantic_ai(OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=f"{url}/v1", api_key="none")))


def pydantic_ai_responses(url: str) -> str:
    from pydantic_ai.models.openai import OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=f"{url}/v1", api_key="none")
    return _pydantic_ai(OpenAIResponsesModel(MODEL, provider=provider))


def agents(url: str) -> str:
    from agents import Agent, Runner, function_tool, set_default_openai_client, set_tracing_disabled
    from openai import AsyncOpenAI

    @function_tool
    def paint(colour: str) -> str:
        """Paints the wall."""
        return colour

    set_tracing_disabled(True)
    set_default_openai_client(AsyncOpenAI(base_url=f"{url}/v1", api_key="none"), use_for_tracing=False)
    agent = Agent(name="Painter", model=MODEL, tools=[paint])
    return str(Runner.run_sync(agent, user(IN_RESPONSES)).final_output)


def instructor_schema(url: str) -> str:
    from typing import Literal

    import instructor
    from openai import OpenAI
    from pydantic import BaseModel

    class Answer(BaseModel):
        colour: Literal["red", "blue"]

    client = instructor.from_openai(
        OpenAI(base_url=f"{url}/v1", api_key="none"), mode=instructor.Mode.JSON_SCHEMA
    )
    answer = client.chat.completions.create(
        model=MODEL, messages=user(IN_CHAT), response_model=Answer, temperature=0, max_retries=1
    )
    return answer.colour


class Ask(NamedTuple):
    package: str
    what: str
    run: Callable[[str], str]
    expected: tuple[str, ...] = ("red",)


ASKS = {
    ask.run.__name__: ask
    for ask in (
        Ask("openai", "chat: image, answer sent back", openai_chat),
        Ask("openai", "Responses: image, output sent back", openai_responses),
        Ask("openai", "Responses: stream", openai_responses_stream),
        Ask("anthropic", "Messages: image, count_tokens", anthropic_messages),
        Ask("anthropic", "Messages: stream", anthropic_stream),
        Ask("litellm", "chat: image, answer sent back", litellm_chat),
        Ask("litellm", "Responses: image", litellm_responses),
        Ask("litellm", "Messages: image", litellm_anthropic),
        Ask("langchain-openai", "chat: image, stream", langchain_chat),
        Ask("langchain-openai", "Responses: image, stream", langchain_responses),
        Ask("pydantic-ai-slim", "chat: image, history", pydantic_ai_chat),
        Ask("pydantic-ai-slim", "Responses: image, history", pydantic_ai_responses),
        Ask("openai-agents", "Responses: image, a tool offered", agents),
        Ask("instructor", "chat: JSON schema", instructor_schema, ("red", "blue")),
    )
}

if __name__ == "__main__":
    asked = ASKS[sys.argv[1]]
    print(metadata.version(asked.package))
    print(asked.run(sys.argv[2]))

"""The Responses and the Messages API on the real engine, by their own SDKs, held against chat completions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from demo.cases import data_url
from demo.world import draw_scene, scene_seed
from tests.e2e.server import Server

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
MODEL = "patchbay-demo"
QUESTION = "What do you see?"
GREEDY = {"temperature": 0}
"""In the body, because Anthropic's SDK has no such argument any more."""
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "clients.md").read_text(), re.S)
"""Those of clients that the test environment has; `make clients` runs the others."""
OF_OTHERS = re.compile(r"^import instructor\b", re.M)
OF_SDKS = [
    code
    for code in SNIPPETS
    if re.search(r"^from (openai import OpenAI|anthropic)\b", code, re.M) and not OF_OTHERS.search(code)
]
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": ["red", "blue"]}},
    "required": ["colour"],
    "additionalProperties": False,
}


@pytest.fixture
def oai(patchbay: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{patchbay.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def ant(patchbay: Server) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=patchbay.url, api_key="none", max_retries=0) as client:
        yield client


def picture(index: int) -> str:
    """The data URL of a scene that was never trained on."""
    _, image = draw_scene(scene_seed("evaluate", 11, index), "shapes")
    return data_url(image, "PNG")


def for_chat(url: str) -> Any:
    return [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": QUESTION}],
        }
    ]


def for_responses(url: str) -> Any:
    return [
        {
            "role": "user",
            "content": [{"type": "input_image", "image_url": url}, {"type": "input_text", "text": QUESTION}],
        }
    ]


def for_messages(url: str) -> Any:
    source = {"type": "base64", "media_type": "image/png", "data": url.partition(",")[2]}
    return [
        {"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": QUESTION}]}
    ]


def test_one_question_in_three_dialects(oai: openai.OpenAI, ant: anthropic.Anthropic) -> None:
    url = picture(1)
    chat = oai.chat.completions.create(model=MODEL, messages=for_chat(url), max_tokens=16, temperature=0)
    response = oai.responses.create(
        model=MODEL, input=for_responses(url), max_output_tokens=16, temperature=0
    )
    message = ant.messages.create(model=MODEL, messages=for_messages(url), max_tokens=16, extra_body=GREEDY)
    assert chat.choices[0].message.content
    assert response.output_text == message.content[0].text == chat.choices[0].message.content
    assert chat.usage is not None and response.usage is not None
    read = message.usage.cache_read_input_tokens or 0
    prompts = {chat.usage.prompt_tokens, response.usage.input_tokens, message.usage.input_tokens + read}
    counted = ant.messages.count_tokens(model=MODEL, messages=for_messages(url)).input_tokens
    assert prompts == {counted}
    assert chat.usage.completion_tokens == response.usage.output_tokens == message.usage.output_tokens
    images = response.usage.input_tokens_details.to_dict()["image_tokens"]
    assert images == chat.usage.prompt_tokens_details.to_dict()["image_tokens"]  # type: ignore[union-attr]


def test_tokens_are_counted_without_the_encoder(patchbay: Server, ant: anthropic.Anthropic) -> None:
    before = patchbay.metric("patchbay_cache_requests_total")
    ant.messages.count_tokens(model=MODEL, messages=for_messages(picture(2)))
    assert patchbay.metric("patchbay_cache_requests_total") == before


def test_streams_say_what_whole_answers_say(oai: openai.OpenAI, ant: anthropic.Anthropic) -> None:
    url = picture(3)
    ask: Any = {"model": MODEL, "input": for_responses(url), "max_output_tokens": 16, "temperature": 0}
    whole = oai.responses.create(**ask)
    with oai.responses.stream(**ask) as stream:
        numbers = [event.sequence_number for event in stream]  # type: ignore[union-attr]
        final = stream.get_final_response()
    assert numbers == list(range(len(numbers)))
    assert final.output_text == whole.output_text
    assert final.usage is not None and whole.usage is not None
    assert final.usage.output_tokens == whole.usage.output_tokens
    told: Any = {"model": MODEL, "messages": for_messages(url), "max_tokens": 16, "extra_body": GREEDY}
    message = ant.messages.create(**told)
    with ant.messages.stream(**told) as events:
        same = events.get_final_message()
    assert (same.stop_reason, same.usage.output_tokens) == (message.stop_reason, message.usage.output_tokens)
    assert same.content[0].text == whole.output_text  # type: ignore[union-attr]


def test_an_answer_that_is_cut_off(oai: openai.OpenAI, ant: anthropic.Anthropic) -> None:
    response = oai.responses.create(model=MODEL, input=for_responses(picture(4)), max_output_tokens=1)
    assert (response.status, response.usage.output_tokens) == ("incomplete", 1)  # type: ignore[union-attr]
    assert response.incomplete_details and response.incomplete_details.reason == "max_output_tokens"
    message = ant.messages.create(model=MODEL, messages=for_messages(picture(4)), max_tokens=1)
    assert message.stop_reason == "max_tokens"


def test_structured_text(oai: openai.OpenAI, ant: anthropic.Anthropic) -> None:
    asked: Any = {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}}
    response = oai.responses.create(
        model=MODEL, input=for_responses(picture(5)), text=asked, max_output_tokens=64, temperature=0
    )
    assert json.loads(response.output_text).keys() == {"colour"}
    config: Any = {"format": {"type": "json_schema", "schema": SCHEMA}}
    message = ant.messages.create(
        model=MODEL, messages=for_messages(picture(5)), output_config=config, max_tokens=64, extra_body=GREEDY
    )
    assert json.loads(message.content[0].text).keys() == {"colour"}  # type: ignore[union-attr]


def test_a_call_that_is_forced_ends(oai: openai.OpenAI, ant: anthropic.Anthropic) -> None:
    # the embedded model has learnt no JSON, and would write white space wherever it may
    function: Any = {"type": "function", "name": "paint", "parameters": SCHEMA, "strict": True}
    chosen: Any = {"type": "function", "name": "paint"}
    response = oai.responses.create(
        model=MODEL,
        input=for_responses(picture(8)),
        tools=[function],
        tool_choice=chosen,
        max_output_tokens=128,
        temperature=0,
    )
    (called,) = response.output
    assert called.type == "function_call" and json.loads(called.arguments)["colour"] in ("red", "blue")
    tool: Any = {"name": "paint", "input_schema": SCHEMA, "strict": True}
    message = ant.messages.create(
        model=MODEL,
        messages=for_messages(picture(8)),
        tools=[tool],
        tool_choice={"type": "tool", "name": "paint"},
        max_tokens=128,
        extra_body=GREEDY,
    )
    (use,) = message.content
    assert use.type == "tool_use" and use.input == json.loads(called.arguments)
    assert message.stop_reason == "tool_use"


def test_an_answer_that_was_begun_goes_on(ant: anthropic.Anthropic) -> None:
    turns = for_messages(picture(6))
    told: Any = {"model": MODEL, "max_tokens": 16, "extra_body": GREEDY}
    whole = ant.messages.create(messages=turns, **told).content[0].text  # type: ignore[union-attr]
    first, _, rest = whole.partition(" ")
    begun = [*turns, {"role": "assistant", "content": first}]
    answer = ant.messages.create(messages=begun, **told)
    assert answer.content[0].text.strip() == rest  # type: ignore[union-attr]


def test_an_image_as_the_result_of_a_tool(oai: openai.OpenAI, ant: anthropic.Anthropic) -> None:
    url = picture(7)
    called = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c1", "output": for_responses(url)[0]["content"]}
    items: Any = [{"role": "user", "content": "Look."}, called, output]
    response = oai.responses.create(model=MODEL, input=items, max_output_tokens=8)
    assert response.usage.input_tokens_details.to_dict()["image_tokens"] > 0  # type: ignore[union-attr]
    use = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": for_messages(url)[0]["content"]}
    turns: Any = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    assert ant.messages.create(model=MODEL, messages=turns, max_tokens=8).content


def test_a_broken_image_is_named_where_the_client_wrote_it(
    oai: openai.OpenAI, ant: anthropic.Anthropic
) -> None:
    url = "data:image/png;base64,AAAA"
    with pytest.raises(openai.BadRequestError) as caught:
        oai.responses.create(model=MODEL, input=for_responses(url))
    assert caught.value.param == "input[0].content[0].image_url"
    with pytest.raises(anthropic.BadRequestError) as told:
        ant.messages.create(model=MODEL, messages=for_messages(url), max_tokens=1)
    assert told.value.body["error"]["param"] == "messages[0].content[0].source"  # type: ignore[index]


def test_each_route_is_counted_by_its_name(patchbay: Server, oai: openai.OpenAI) -> None:
    oai.responses.create(model=MODEL, input="Hi", max_output_tokens=1)
    assert 'route="/v1/responses"' in httpx.get(f"{patchbay.url}/metrics").text


@pytest.mark.parametrize("code", OF_SDKS, ids=[f"snippet-{number}" for number in range(len(OF_SDKS))])
def test_the_snippets_of_the_page_work(
    code: str, patchbay: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    exec(compile(code.replace("http://127.0.0.1:8000", patchbay.url), "clients.md", "exec"), {})
    printed = capsys.readouterr().out.strip()
    assert printed.endswith("red") or "colour" not in code
    assert printed

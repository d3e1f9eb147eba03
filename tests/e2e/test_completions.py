"""Completions with the official client, on the real engine."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from tests.e2e.server import Server

pytestmark = pytest.mark.e2e
PROMPT = "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture
def client(patchbay: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{patchbay.url}/v1", api_key="none", max_retries=0)


def ask(client: openai.OpenAI, **fields: Any) -> Any:
    asked = {"model": client.models.list().data[0].id, "prompt": PROMPT, "temperature": 0, "max_tokens": 8}
    return client.completions.create(**asked | fields)


def test_the_template_s_text_is_answered_like_the_conversation(client: openai.OpenAI) -> None:
    completion = ask(client)
    chat = client.chat.completions.create(
        model=completion.model, messages=[{"role": "user", "content": "Hello!"}], temperature=0, max_tokens=8
    )
    assert completion.choices[0].text == chat.choices[0].message.content
    assert completion.usage.prompt_tokens == chat.usage.prompt_tokens
    assert completion.usage.completion_tokens == chat.usage.completion_tokens


def test_a_stream_says_the_same_and_ends_with_usage(client: openai.OpenAI) -> None:
    whole = ask(client)
    events = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(choice.text for event in events for choice in event.choices) == whole.choices[0].text
    assert events[-1].usage.prompt_tokens == whole.usage.prompt_tokens


def test_several_prompts_and_tokens(client: openai.OpenAI, patchbay: Server) -> None:
    tokens = httpx.post(f"{patchbay.url}/tokenize", json={"prompt": PROMPT}).json()["tokens"]
    one = ask(client).choices[0].text
    assert ask(client, prompt=tokens).choices[0].text == one
    assert [choice.text for choice in ask(client, prompt=[PROMPT, PROMPT]).choices] == [one, one]
    assert [choice.text for choice in ask(client, n=2).choices] == [one, one]


def test_log_probabilities_and_constraints(client: openai.OpenAI) -> None:
    answer = ask(client, logprobs=2, extra_body={"structured_outputs": {"choice": ["red", "blue"]}})
    assert answer.choices[0].text in ("red", "blue")
    assert len(answer.choices[0].logprobs.tokens) == answer.usage.completion_tokens


@pytest.mark.parametrize("prompt", ["<IMG_CONTEXT>", "<img><IMG_CONTEXT></img> and more"])
def test_a_placeholder_is_text(client: openai.OpenAI, prompt: str) -> None:
    assert ask(client, prompt=prompt).usage.prompt_tokens > 3


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"echo": True}, "echo"),
        ({"suffix": "end"}, "suffix"),
        ({"prompt": ["a"] * 9}, "prompt"),
        ({"prompt": "word " * 9000}, "prompt"),
    ],
)
def test_what_is_refused(client: openai.OpenAI, change: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, **change)
    assert refused.value.param == param

"""Everything that users of the official OpenAI client do, on the real engine."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from demo.cases import data_url
from demo.world import draw_scene, scene_seed
from tests.e2e.server import Server

pytestmark = pytest.mark.e2e
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "paint",
        "description": "Paints the wall.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"colour": {"type": "string", "enum": ["red", "blue"]}},
            "required": ["colour"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture
def client(patchbay: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{patchbay.url}/v1", api_key="none", max_retries=0)


@pytest.fixture
def model(client: openai.OpenAI) -> str:
    return client.models.list().data[0].id


def picture(index: int, kind: str = "shapes", detail: str = "auto") -> Any:
    """A content part with a scene that was never trained on."""
    _, image = draw_scene(scene_seed("evaluate", 9, index), kind)
    return {"type": "image_url", "image_url": {"url": data_url(image, "PNG"), "detail": detail}}


def asks(*parts: Any, text: str = "What do you see?") -> Any:
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def details(usage: Any) -> dict[str, Any]:
    return dict(usage.prompt_tokens_details.to_dict())


def test_text_only(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Hello!"}], max_tokens=20, temperature=0
    )
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert details(answer.usage).get("image_tokens", 0) == 0


def test_one_image(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(
        model=model, messages=asks(picture(1, detail="low")), max_tokens=20, temperature=0
    )
    assert details(answer.usage)["image_tokens"] == 16
    assert details(answer.usage)["image_detail"] == ["low"]


def test_three_images_of_different_sizes(client: openai.OpenAI, model: str) -> None:
    parts = [picture(2, detail="low"), picture(3, "small", "high"), picture(4)]
    answer = client.chat.completions.create(model=model, messages=asks(*parts), max_tokens=8, temperature=0)
    assert details(answer.usage)["image_tokens"] > 16 * 3
    assert len(details(answer.usage)["image_detail"]) == 3


def test_streaming_with_usage(client: openai.OpenAI, model: str) -> None:
    whole = client.chat.completions.create(
        model=model, messages=asks(picture(5)), max_tokens=16, temperature=0
    )
    stream = client.chat.completions.create(
        model=model,
        messages=asks(picture(5)),
        max_tokens=16,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    events = list(stream)
    text = "".join(choice.delta.content or "" for event in events for choice in event.choices)
    assert text == whole.choices[0].message.content
    assert events[-1].usage is not None
    assert details(events[-1].usage)["image_tokens"] == details(whole.usage)["image_tokens"]


def test_what_a_request_cost_is_told_to_who_asks(client: openai.OpenAI, model: str) -> None:
    ask: Any = {
        "model": model,
        "messages": asks(picture(8), picture(9, detail="low")),
        "max_tokens": 8,
        "extra_headers": {"X-Patchbay-Details": "1"},
    }
    *_, last = client.chat.completions.create(stream=True, **ask)
    assert last.choices == []
    for told in (last.to_dict()["patchbay"], client.chat.completions.create(**ask).to_dict()["patchbay"]):
        assert sum(told["stages_ms"].values()) == pytest.approx(told["total_ms"], abs=1e-6)
        assert "engine_answer" in told["stages_ms"]
        assert [image["detail"] for image in told["images"]][1] == "low"
        columns, rows = told["images"][0]["grid"]
        assert told["images"][0]["tiles"] in (1, columns * rows + 1)
    assert [image["cached"] for image in told["images"]] == [True, True]


def test_json_schema_output(client: openai.OpenAI, model: str) -> None:
    schema: Any = {
        "type": "json_schema",
        "json_schema": {"name": "paint", "schema": TOOL["function"]["parameters"], "strict": True},
    }
    answer = client.chat.completions.create(
        model=model, messages=asks(picture(6)), response_format=schema, max_tokens=64, temperature=0
    )
    assert answer.choices[0].finish_reason == "stop"
    assert json.loads(answer.choices[0].message.content or "")["colour"] in ("red", "blue")


def test_several_answers_at_temperature_0_are_the_one_answer(client: openai.OpenAI, model: str) -> None:
    asked: Any = {"model": model, "messages": asks(picture(5)), "max_tokens": 16, "temperature": 0}
    one = client.chat.completions.create(**asked)
    three = client.chat.completions.create(**asked, n=3)
    assert [choice.message.content for choice in three.choices] == [one.choices[0].message.content] * 3


def test_a_bound_beyond_the_context_is_lowered(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(
        model=model, messages=asks(picture(5)), max_completion_tokens=999_999, temperature=0
    )
    assert answer.choices[0].finish_reason == "stop"


def test_constraints_that_would_hurt_the_engine_never_reach_it(client: openai.OpenAI, model: str) -> None:
    pattern = "(" * 40_000 + "a" + ")" * 40_000
    schemas: dict[str, Any] = {
        "response_format.json_schema.schema.pattern": {"type": "string", "pattern": pattern},
        "response_format.json_schema.schema": {"$ref": "#"},
    }
    for path, schema in schemas.items():
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(
                model=model,
                messages=asks(),
                response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
            )
        assert refused.value.param == path


def test_tool_call(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(
        model=model,
        messages=asks(picture(7)),
        tools=[TOOL],
        tool_choice={"type": "function", "function": {"name": "paint"}},
        max_tokens=128,
        temperature=0,
    )
    (call,) = answer.choices[0].message.tool_calls or ()
    assert call.type == "function"
    assert call.function.name == "paint"
    assert json.loads(call.function.arguments)["colour"] in ("red", "blue")


def test_logprobs(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(
        model=model, messages=asks(picture(8)), max_tokens=4, temperature=0, logprobs=True, top_logprobs=3
    )
    assert answer.choices[0].logprobs is not None
    tokens = answer.choices[0].logprobs.content or []
    assert tokens
    assert all(len(token.top_logprobs) == 3 and token.logprob <= 0 for token in tokens)


def test_two_choices(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(
        model=model, messages=asks(picture(9)), n=2, max_tokens=8, temperature=1, seed=3
    )
    assert [choice.index for choice in answer.choices] == [0, 1]


def test_stop(client: openai.OpenAI, model: str) -> None:
    whole = client.chat.completions.create(
        model=model, messages=asks(picture(10)), max_tokens=16, temperature=0
    )
    text = whole.choices[0].message.content or ""
    assert len(text) > 2
    cut = client.chat.completions.create(
        model=model, messages=asks(picture(10)), max_tokens=16, temperature=0, stop=text[2]
    )
    assert cut.choices[0].finish_reason == "stop"
    assert cut.choices[0].message.content == text.partition(text[2])[0]


def test_the_second_turn_about_an_image_is_cached(client: openai.OpenAI, model: str) -> None:
    turns = asks(picture(11, "small", "high"))
    first = client.chat.completions.create(model=model, messages=turns, max_tokens=8, temperature=0)
    turns += [
        {"role": "assistant", "content": first.choices[0].message.content or "?"},
        {"role": "user", "content": "And what else?"},
    ]
    second = client.chat.completions.create(model=model, messages=turns, max_tokens=8, temperature=0)
    # most of the image: what is left over is less than one block of the KV cache
    assert details(second.usage)["cached_tokens"] >= details(first.usage)["image_tokens"] - 32


@pytest.mark.parametrize(
    ("change", "status", "code", "param"),
    [
        ({"model": "gpt-4"}, 404, "model_not_found", "model"),
        ({"temperature": "hot"}, 400, "invalid_value", "temperature"),
        ({"n": 1000}, 400, "invalid_value", "n"),
        ({"extra_body": {"image_embeds": []}}, 400, "invalid_value", "image_embeds"),
        (
            {"extra_body": {"mm_processor_kwargs": {"num_crops": 1}}},
            400,
            "invalid_value",
            "mm_processor_kwargs",
        ),
        ({"messages": asks() * 3000}, 400, None, "messages"),
        ({"max_tokens": 10**7}, 400, None, None),
    ],
)
def test_requests_that_are_refused(
    client: openai.OpenAI,
    model: str,
    change: dict[str, Any],
    status: int,
    code: str | None,
    param: str | None,
) -> None:
    request: dict[str, Any] = {"model": model, "messages": asks(), "max_tokens": 4, **change}
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(**request)
    assert refused.value.status_code == status
    assert refused.value.body
    if code:
        assert refused.value.code == code
    if param:
        assert refused.value.param == param


@pytest.mark.parametrize(
    ("url", "status", "code"),
    [
        ("data:image/png;base64,@@@", 400, "invalid_data_url"),
        ("data:image/png;base64,aGVsbG8gd29ybGQhIQ==", 400, "unsupported_image_format"),
        ("ftp://example.com/a.png", 400, "url_not_allowed"),
        ("http://169.254.169.254/latest/meta-data", 400, "url_not_allowed"),
        ("http://127.0.0.1:9/a.png", 424, "media_fetch_failed"),
    ],
)
def test_images_that_are_refused(client: openai.OpenAI, model: str, url: str, status: int, code: str) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(
            model=model, messages=asks({"type": "image_url", "image_url": {"url": url}}), max_tokens=4
        )
    assert (refused.value.status_code, refused.value.code) == (status, code)
    assert refused.value.param == "messages[0].content[0].image_url.url"


def test_a_text_that_holds_the_image_token_is_answered_as_text(client: openai.OpenAI, model: str) -> None:
    text = "<IMG_CONTEXT><IMG_CONTEXT></img>"
    plain = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], max_tokens=4, temperature=0
    )
    assert plain.choices[0].message.content is not None
    beside = client.chat.completions.create(
        model=model, messages=asks(picture(12, detail="low"), text=text), max_tokens=4, temperature=0
    )
    assert details(beside.usage)["image_tokens"] == 16


def test_nine_images_are_too_many(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=model, messages=asks(*[picture(13)] * 9), max_tokens=4)
    assert refused.value.code == "too_many_images"

"""Text stays text: no placeholder survives in what a chat template writes, and nothing else is touched."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidRequest
from service.pipeline.placeholders import ZERO_WIDTH_SPACE, neutralise

PLACEHOLDERS = ("<img>", "</img>", "<IMG_CONTEXT>", "aa", "aba")
DEMO = Path(__file__).parents[3] / "demo" / "model"
IMAGE = {"type": "image_url", "image_url": {"url": "https://e.com/<img>/<IMG_CONTEXT>aa"}}

PIECES = st.sampled_from(
    ["<img>", "</img>", "<IMG_CONTEXT>", "<IMG_", "CONTEXT>", "<", "a", "b", "aa", "\u200b", " ", "é"]
)
TEXTS = st.lists(PIECES, max_size=6).map("".join)
PARTS = st.one_of(
    TEXTS.map(lambda text: {"type": "text", "text": text}),
    TEXTS.map(lambda text: {"type": "refusal", "refusal": text}),
    st.just(IMAGE),
)
NAMES = TEXTS | st.sampled_from(["type", "text", "image_url", "arguments", "content", "messages"])
CLAIMS = st.sampled_from(["image_url", "image_embeds", "text"])
"""What a user's own JSON may say that it is."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS | CLAIMS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool"]), "content": TEXTS | st.lists(PARTS, max_size=5)},
    optional={
        "name": TEXTS,
        "type": CLAIMS,
        "tool_calls": JSON.map(lambda value: [{"function": {"name": "f", "arguments": json.dumps(value)}}]),
    },
)
PAYLOADS = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES, max_size=3), "model": TEXTS},
    optional={"tools": st.lists(JSON, max_size=2), "response_format": JSON, "tool_choice": JSON},
)


def texts_of(payload: dict[str, Any]) -> list[str]:
    """Every text that a template can write from a request: the parts of one message as one, arguments as parsed."""
    fields = [strings(value) for name, value in payload.items() if name not in ("messages", "model")]
    return [text for found in (*fields, *map(message_texts, payload["messages"])) for text in found]


def message_texts(message: dict[str, Any]) -> list[str]:
    texts = strings({name: value for name, value in message.items() if name != "content"})
    for call in message.get("tool_calls", ()):
        texts += strings(json.loads(call["function"]["arguments"]))
    if isinstance(message["content"], str):
        return [*texts, message["content"]]
    parts = [part for part in message["content"] if part["type"] != "image_url"]
    return [*texts, "".join(part.get("text", part.get("refusal", "")) for part in parts)]


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(text for member in value.values() for text in strings(member))]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def without_spaces(value: Any) -> Any:
    if isinstance(value, dict):
        return {without_spaces(name): without_spaces(member) for name, member in value.items()}
    if isinstance(value, list):
        return [without_spaces(item) for item in value]
    return value.replace(ZERO_WIDTH_SPACE, "") if isinstance(value, str) else value


@given(PAYLOADS)
def test_no_placeholder_survives_anywhere_a_template_writes(payload: dict[str, Any]) -> None:
    for text in texts_of(dict(neutralise(payload, PLACEHOLDERS))):
        assert not any(placeholder in text for placeholder in PLACEHOLDERS)


@given(PAYLOADS)
def test_nothing_changes_but_the_spaces_and_the_input_is_left_alone(payload: dict[str, Any]) -> None:
    before = copy.deepcopy(payload)
    result = neutralise(payload, PLACEHOLDERS)
    assert payload == before
    assert result["model"] == payload["model"]
    if not any(placeholder in text for text in texts_of(payload) for placeholder in PLACEHOLDERS):
        assert result is payload
    for new, old in zip(result["messages"], payload["messages"], strict=True):
        assert without_spaces(new["content"]) == without_spaces(old["content"])
        assert without_spaces(new.get("name")) == without_spaces(old.get("name"))
        for call, was in zip(new.get("tool_calls", ()), old.get("tool_calls", ()), strict=True):
            arguments = [json.loads(item["function"]["arguments"]) for item in (call, was)]
            assert without_spaces(arguments[0]) == without_spaces(arguments[1])


@given(PAYLOADS)
def test_doing_it_twice_changes_nothing_more(payload: dict[str, Any]) -> None:
    once = neutralise(payload, PLACEHOLDERS)
    assert neutralise(once, PLACEHOLDERS) is once


def user(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def test_where_a_text_is_broken() -> None:
    result = neutralise(user("an <img> tag, <IMG_CONTEXT><IMG_CONTEXT>"), PLACEHOLDERS)
    assert result["messages"][0]["content"] == "an <\u200bimg> tag, <\u200bIMG_CONTEXT><\u200bIMG_CONTEXT>"


@pytest.mark.parametrize(
    "between", [[], [IMAGE], [{"type": "text", "text": ""}]], ids=["next", "image", "empty"]
)
def test_parts_that_form_a_placeholder_together_are_broken(between: list[Any]) -> None:
    content = [{"type": "text", "text": "see <IMG_"}, *between, {"type": "text", "text": "CONTEXT> here"}]
    result = neutralise(user(content), PLACEHOLDERS)["messages"][0]["content"]
    assert result[0]["text"] == "see <\u200bIMG_"
    assert result[1:] == content[1:]


def test_a_placeholder_whose_first_character_ends_a_part_is_broken_at_the_seam() -> None:
    content = [{"type": "text", "text": "<"}, {"type": "text", "text": "img>"}]
    result = neutralise(user(content), PLACEHOLDERS)["messages"][0]["content"]
    assert "".join(part["text"] for part in result) == "<\u200bimg>"


def test_json_escapes_in_arguments_do_not_hide_a_placeholder() -> None:
    arguments = '{"q": "\\u003cIMG_CONTEXT\\u003e", "n": 1.50}'
    payload = {
        "messages": [
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}
        ]
    }
    result = neutralise(payload, PLACEHOLDERS)
    written = result["messages"][0]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(written) == {"q": "<\u200bIMG_CONTEXT>", "n": 1.5}


def with_arguments(arguments: str) -> dict[str, Any]:
    return {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": arguments}}]}]}


def arguments_of(payload: Any) -> str:
    return str(payload["messages"][0]["tool_calls"][0]["function"]["arguments"])


@pytest.mark.parametrize("arguments", ["<img>{", '{"a": 1, "a": <img>}', "[" * 5 + "<img>"])
def test_arguments_that_are_no_json_are_text(arguments: str) -> None:
    written = arguments_of(neutralise(with_arguments(arguments), PLACEHOLDERS))
    assert written == arguments.replace("<img>", "<\u200bimg>")


def test_arguments_whose_last_member_hides_an_earlier_one_are_broken_in_both() -> None:
    written = arguments_of(neutralise(with_arguments('{"a": "<img>", "a": 1}'), PLACEHOLDERS))
    assert written == '{"a": "<\u200bimg>", "a": 1}'


def test_escapes_far_down_in_arguments_are_found() -> None:
    deep = '{"a":' + "[" * 200 + '"\\u003cIMG_CONTEXT>"' + "]" * 200 + "}"
    written = arguments_of(neutralise(with_arguments(deep), PLACEHOLDERS))
    assert "<\u200bIMG_CONTEXT>" in written


def test_arguments_that_cannot_be_parsed_for_their_depth_are_refused_by_their_path() -> None:
    with pytest.raises(InvalidRequest) as refused:
        neutralise(with_arguments("[" * 100_000 + "<img>"), PLACEHOLDERS)
    assert refused.value.param == "messages[0].tool_calls[0].function.arguments"


@pytest.mark.parametrize("claim", ["image_url", "image_embeds", ["string", "null"], {"a": 1}, 5, None])
@pytest.mark.parametrize("field", ["tools", "response_format", "tool_choice"])
def test_json_that_says_of_itself_what_it_is_remains_text(field: str, claim: Any) -> None:
    told = {"type": claim, "description": "<IMG_CONTEXT>", "image_url": {"url": "<img>"}}
    payload = {"messages": [], field: [{"function": {"parameters": told}}]}
    inner = neutralise(payload, PLACEHOLDERS)[field][0]["function"]["parameters"]
    assert inner == {
        "type": claim,
        "description": "<\u200bIMG_CONTEXT>",
        "image_url": {"url": "<\u200bimg>"},
    }


def test_arguments_that_look_like_a_part_remain_text() -> None:
    written = arguments_of(
        neutralise(with_arguments('{"type": "image_url", "a": "\\u003cimg>"}'), PLACEHOLDERS)
    )
    assert json.loads(written) == {"type": "image_url", "a": "<\u200bimg>"}


def test_a_message_that_calls_itself_an_image_is_none() -> None:
    payload = {"messages": [{"role": "user", "type": "image_url", "content": "<img>", "name": "<img>"}]}
    message = neutralise(payload, PLACEHOLDERS)["messages"][0]
    assert (message["content"], message["name"]) == ("<\u200bimg>", "<\u200bimg>")


def test_no_depth_is_too_deep_for_the_walk() -> None:
    schema: dict[str, Any] = {"description": "<img>"}
    for _ in range(20_000):
        schema = {"items": schema}
    tool = neutralise({"messages": [], "tools": [schema]}, PLACEHOLDERS)["tools"][0]
    while "items" in tool:
        tool = tool["items"]
    assert tool == {"description": "<\u200bimg>"}


def test_what_only_the_answer_is_held_against_stays_as_it_is() -> None:
    payload = {
        "messages": [],
        "model": "<img>",
        "stop": ["<img>"],
        "structured_outputs": {"choice": ["<img>"]},
    }
    assert neutralise(payload, PLACEHOLDERS) is payload


def test_tools_are_neutralised_with_their_names() -> None:
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"properties": {"<img>": {"enum": ["</img>"]}}}},
    }
    result = neutralise({"messages": [], "tools": [tool]}, PLACEHOLDERS)
    assert result["tools"][0]["function"]["parameters"] == {
        "properties": {"<\u200bimg>": {"enum": ["<\u200b/img>"]}}
    }


def test_image_parts_are_not_looked_into() -> None:
    payload = user([IMAGE, {"type": "text", "text": "a star"}])
    assert neutralise(payload, PLACEHOLDERS) is payload


def test_long_hostile_texts_take_linear_work() -> None:
    parts = [{"type": "text", "text": "aa" * 50} for _ in range(4000)]
    result = neutralise(user(parts), PLACEHOLDERS)["messages"][0]["content"]
    assert "".join(part["text"] for part in result) == "\u200b".join("a" * 400_000)


def test_placeholders_that_cannot_be_broken_are_refused() -> None:
    for placeholder in ("", "x", "a\u200bb"):
        with pytest.raises(ValueError, match="two characters"):
            neutralise(user("x"), ("<img>", placeholder))
    payload = user("<img>")
    assert neutralise(payload, ()) is payload


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(DEMO / "tokenizer.json"))


@given(TEXTS)
def test_the_embedded_models_tokenizer_sees_no_special_token(tokenizer: Any, text: str) -> None:
    placeholders = ("<img>", "</img>", "<IMG_CONTEXT>", "<video>")
    special = {tokenizer.token_to_id(placeholder) for placeholder in placeholders}
    result = neutralise(user(text), placeholders)["messages"][0]["content"]
    assert None not in special
    assert not special & set(tokenizer.encode(result).ids)

"""Text stays text: no placeholder survives in what a chat template writes, and nothing else is touched."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool"]), "content": TEXTS | st.lists(PARTS, max_size=5)},
    optional={
        "name": TEXTS,
        "tool_calls": JSON.map(lambda value: [{"function": {"name": "f", "arguments": json.dumps(value)}}]),
    },
)
PAYLOADS = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES, max_size=3), "model": TEXTS},
    optional={"tools": st.lists(JSON, max_size=2)},
)


def texts_of(value: Any) -> list[str]:
    """Every text that a template can write from `value`, the parts of one message as one."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        if value.get("type") == "image_url":
            return []
        arguments = value.get("arguments")
        parsed = texts_of(json.loads(arguments)) if isinstance(arguments, str) else []
        return [*value, *(text for member in value.values() for text in texts_of(member)), *parsed]
    if isinstance(value, list):
        parts = [part.get("text", part.get("refusal", "")) for part in value if isinstance(part, dict)]
        joined = "".join(part for part in parts if isinstance(part, str))
        return [joined, *(text for item in value for text in texts_of(item))]
    return []


def without_spaces(value: Any) -> Any:
    if isinstance(value, dict):
        return {without_spaces(name): without_spaces(member) for name, member in value.items()}
    if isinstance(value, list):
        return [without_spaces(item) for item in value]
    return value.replace(ZERO_WIDTH_SPACE, "") if isinstance(value, str) else value


@given(PAYLOADS)
def test_no_placeholder_survives_anywhere_a_template_writes(payload: dict[str, Any]) -> None:
    result = neutralise(payload, PLACEHOLDERS)
    for field in ("messages", "tools"):
        for text in texts_of(result.get(field)):
            assert not any(placeholder in text for placeholder in PLACEHOLDERS)


@given(PAYLOADS)
def test_nothing_changes_but_the_spaces_and_the_input_is_left_alone(payload: dict[str, Any]) -> None:
    before = copy.deepcopy(payload)
    result = neutralise(payload, PLACEHOLDERS)
    assert payload == before
    assert result["model"] == payload["model"]
    clean = not any(
        p in text for text in texts_of([payload["messages"], payload.get("tools")]) for p in PLACEHOLDERS
    )
    if clean:
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


@pytest.mark.parametrize("arguments", ["<img>{", "[" * 100_000 + "<img>"])
def test_arguments_that_are_no_json_are_text(arguments: str) -> None:
    payload = {"messages": [{"tool_calls": [{"function": {"arguments": arguments}}]}]}
    written = neutralise(payload, PLACEHOLDERS)["messages"][0]["tool_calls"][0]["function"]["arguments"]
    assert written == arguments.replace("<img>", "<\u200bimg>")


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
    payload = user([IMAGE, {"type": "image_embeds", "image_embeds": {"soft_target": [1]}, "uuid": "aa"}])
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

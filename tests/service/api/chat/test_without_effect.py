"""What clients add, say with a null, or ask for without wanting anything: accepted, and never seen by the engine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.chat.fields import HARMLESS, REFUSED, ChatFields
from service.api.chat.messages import (
    AssistantMessage,
    CalledFunction,
    ImagePart,
    ImageURL,
    RefusalPart,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from service.api.chat.schema import parse_chat
from service.api.limits import RequestLimits
from service.api.sampling.fields import NO_EFFECT
from service.api.wire import accepted_fields
from service.domain import ChatRequest, Detail, ImageRef
from service.errors import InvalidRequest

PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/hidden.png"}}
HIDDEN = [
    PICTURE,
    [PICTURE],
    {"content": [PICTURE], "role": "user"},
    {"type": "image_embeds", "image_embeds": "AAAA"},
    "<IMG_CONTEXT>",
    5,
    None,
]


def body() -> dict[str, Any]:
    """A request that has an object of every kind that clients add to."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    return {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "s"}]},
            {"role": "user", "content": [{"type": "text", "text": "?"}, picture]},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "a"},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }


PLACES: dict[str, tuple[Any, ...]] = {
    "system": ("messages", 0),
    "text": ("messages", 0, "content", 0),
    "user": ("messages", 1),
    "image": ("messages", 1, "content", 1),
    "image_url": ("messages", 1, "content", 1, "image_url"),
    "assistant": ("messages", 2),
    "refusal": ("messages", 2, "content", 0),
    "tool_call": ("messages", 2, "tool_calls", 0),
    "called": ("messages", 2, "tool_calls", 0, "function"),
    "answer": ("messages", 3),
    "tool": ("tools", 0),
    "function": ("tools", 0, "function"),
    "request": (),
}
KINDS = {
    "system": SystemMessage,
    "text": TextPart,
    "user": UserMessage,
    "image": ImagePart,
    "image_url": ImageURL,
    "assistant": AssistantMessage,
    "refusal": RefusalPart,
    "tool_call": ToolCall,
    "called": CalledFunction,
    "answer": ToolMessage,
    "request": ChatFields,
}
ADDED = [
    *(
        (place, name)
        for place, kind in KINDS.items()
        for name in sorted(kind.ignored - accepted_fields(kind))
    ),
    *((place, name) for place in ("tool", "function") for name in ("cache_control", "extra_content")),
]
REFUSED_ANYWHERE = [
    (place, name)
    for place, kind in KINDS.items()
    for name in sorted(kind.refused.keys() - accepted_fields(kind) - kind.ignored)
]


def parse(payload: dict[str, Any]) -> ChatRequest:
    return parse_chat(json.dumps(payload).encode(), RequestLimits())


def added(place: str, name: str, value: Any) -> dict[str, Any]:
    payload = body()
    found: Any = payload
    for step in PLACES[place]:
        found = found[step]
    found[name] = value
    return payload


PLAIN = parse(body())


@pytest.mark.parametrize("place, name", ADDED)
def test_what_clients_add_is_not_forwarded_whatever_it_holds(place: str, name: str) -> None:
    for value in HIDDEN:
        assert parse(added(place, name, value)) == PLAIN


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text() | st.just(PICTURE),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("type"), inner),
    max_leaves=10,
)


@given(st.lists(st.tuples(st.sampled_from(ADDED), values), max_size=5))
def test_any_additions_leave_the_request_as_it_was(additions: list[tuple[tuple[str, str], Any]]) -> None:
    payload = body()
    for (place, name), value in additions:
        found: Any = payload
        for step in PLACES[place]:
            found = found[step]
        found[name] = value
    assert parse(payload) == PLAIN


@pytest.mark.parametrize("place, name", REFUSED_ANYWHERE)
def test_null_is_absence_of_what_would_be_refused(place: str, name: str) -> None:
    assert parse(added(place, name, None)) == PLAIN
    with pytest.raises(InvalidRequest) as refused:
        parse(added(place, name, {"a": [PICTURE]}))
    assert str(refused.value.param).endswith(name)


@pytest.mark.parametrize("name", sorted(accepted_fields(ChatFields) - {"messages", "tools"}))
def test_null_is_absence_of_what_is_accepted(name: str) -> None:
    assert parse(added("request", name, None)) == PLAIN


def test_a_null_that_nobody_knows_is_still_a_misspelt_field() -> None:
    with pytest.raises(InvalidRequest, match="temperatur is not accepted. Did you mean temperature"):
        parse(added("request", "temperatur", None))


@pytest.mark.parametrize("name, value", [(name, value) for name in HARMLESS for value in HARMLESS[name]])
def test_a_refused_field_that_asks_for_nothing(name: str, value: Any) -> None:
    assert name in REFUSED
    assert parse(added("request", name, value)) == PLAIN


@pytest.mark.parametrize(
    "name, value",
    [
        *(("echo", True), ("echo", 0), ("best_of", 2), ("best_of", True), ("priority", False)),
        *(("priority", -1), ("truncate_prompt_tokens", 0), ("truncate_prompt_tokens", 5)),
        *(
            ("length_penalty", 1.1),
            ("use_beam_search", True),
            ("documents", [{}]),
            ("web_search_options", {}),
        ),
        *(("function_call", {"name": "f"}), ("prompt_logprobs", 0), ("moderation", {}), ("audio", {})),
    ],
)
def test_a_refused_field_that_asks_for_something(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"{name} is not accepted: "):
        parse(added("request", name, value))


def test_values_of_openai_s_platform_are_not_looked_at() -> None:
    assert parse(body() | {"metadata": {"a": 1, "b": [True]}, "user": 5, "verbosity": "low"}) == PLAIN
    assert {"metadata", "user", "verbosity"} <= NO_EFFECT


@pytest.mark.parametrize("name", ["max_tokens", "n", "seed", "top_k", "min_tokens", "thinking_token_budget"])
def test_an_integer_with_a_fraction_of_zero_is_forwarded_as_one(name: str) -> None:
    forwarded = parse(added("request", name, 1.0)).payload[name]
    assert forwarded == 1 and type(forwarded) is int
    assert parse(added("request", "stop_token_ids", [7.0, 8])).payload["stop_token_ids"] == [7, 8]
    assert type(parse(added("request", "temperature", 1.0)).payload["temperature"]) is float


@pytest.mark.parametrize(
    "part, url, detail, path",
    [
        ("data:,1", "data:,1", Detail.AUTO, "image_url"),
        ({"url": "data:,1", "detail": "original"}, "data:,1", Detail.HIGH, "image_url.url"),
        ({"url": "data:,1", "format": "image/png", "uuid": None}, "data:,1", Detail.AUTO, "image_url.url"),
    ],
)
def test_other_ways_to_write_an_image(part: Any, url: str, detail: Detail, path: str) -> None:
    asked = parse(added("image", "image_url", part))
    assert asked.images == (ImageRef(url, detail, 1, 1, f"messages[1].content[1].{path}"),)


@pytest.mark.parametrize("role", ["user", "system"])
def test_a_picture_where_it_would_be_lost_is_refused(role: str) -> None:
    with pytest.raises(InvalidRequest, match="images is not accepted: send each image as a part"):
        parse(added(role, "images", ["AAAA"]))


def test_a_refusal_is_short_and_says_where_the_fields_are() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(added("request", "x_" * 5000, 1))
    assert len(refused.value.message) < 200
    assert "docs/api.md" in refused.value.message

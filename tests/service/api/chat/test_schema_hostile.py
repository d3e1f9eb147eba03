"""Whatever the bytes are, the answer is a request or a refusal in words."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from service.api.chat.fields import ChatFields
from service.api.chat.schema import parse_chat
from service.api.limits import RequestLimits
from service.domain import ChatRequest
from service.errors import RequestError

LIMITS = RequestLimits(max_json_depth=20, max_json_values=500, max_messages=5, max_images=2)

KEYS = sorted(ChatFields.model_fields) + [
    "role",
    "content",
    "type",
    "text",
    "image_url",
    "url",
    "detail",
    "uuid",
]
WORDS = ["user", "assistant", "tool", "text", "image_url", "low", "function", "«user»", "__class__"]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(WORDS)
names = st.text() | st.sampled_from(KEYS)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=30)

texts = st.fixed_dictionaries({"type": st.just("text"), "text": st.text()})
images = st.fixed_dictionaries(
    {"type": st.just("image_url"), "image_url": st.fixed_dictionaries({"url": st.text()})}
)
good_messages = st.fixed_dictionaries(
    {"role": st.just("user"), "content": st.text() | st.lists(texts | images, max_size=3)}
)
bad_messages = st.fixed_dictionaries(
    {"role": st.sampled_from(WORDS)},
    optional={"content": values | st.lists(texts | images | values), "tool_calls": values, "name": values},
)
good_bodies = st.fixed_dictionaries({"messages": st.lists(good_messages, min_size=1, max_size=3)})
bad_bodies = st.builds(
    lambda body, more: body | more,
    st.fixed_dictionaries({"messages": st.lists(good_messages | bad_messages)}),
    st.dictionaries(st.sampled_from(sorted(ChatFields.model_fields)), values, max_size=2),
)


def outcome(body: bytes) -> ChatRequest | RequestError:
    try:
        return parse_chat(body, LIMITS, models=("demo",))
    except RequestError as error:
        assert error.message.isprintable()
        json.dumps([error.message, error.param], ensure_ascii=False).encode()
        return error


@given(values | good_bodies | bad_bodies)
def test_any_json(value: Any) -> None:
    result = outcome(json.dumps(value).encode())
    if isinstance(result, ChatRequest):
        # what is forwarded can be sent, and no image is forgotten
        json.dumps(result.payload, allow_nan=False, ensure_ascii=False).encode()
        found = [
            (row, column)
            for row, message in enumerate(result.payload["messages"])
            if isinstance(message.get("content"), list)
            for column, part in enumerate(message["content"])
            if part["type"] == "image_url"
        ]
        assert [(image.message, image.part) for image in result.images] == found


@given(good_bodies)
def test_a_good_request_is_taken(value: Any) -> None:
    many = sum(part.get("type") == "image_url" for m in value["messages"] for part in parts_of(m)) > 2
    assert isinstance(outcome(json.dumps(value).encode()), RequestError if many else ChatRequest)


def parts_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    return message["content"] if isinstance(message["content"], list) else []


@given(st.binary())
def test_any_bytes(body: bytes) -> None:
    outcome(body)


@given(st.binary(max_size=20))
def test_bytes_within_a_request(soup: bytes) -> None:
    outcome(b'{"messages":[{"role":"user","content":"' + soup + b'"}]}')


@given(st.sampled_from([b"[", b'{"a":', b'[{"messages":']), st.integers(1, 100_000))
def test_nesting_without_end(opening: bytes, depth: int) -> None:
    assert isinstance(outcome(opening * depth), RequestError)

"""Whatever the bytes are, the answer is a request or a refusal in words."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.anthropic.dialect import Messages, MessagesQuestion
from service.api.anthropic.fields import MessagesFields
from service.api.chat.fields import ChatFields
from service.api.limits import RequestLimits
from service.domain import ANYBODY
from service.errors import RequestError
from tests.service.api.answers import Answering, completion
from tests.service.api.fakes import Call, Harness
from tests.service.api.hostile import anything, spoilt

pytestmark = pytest.mark.anyio
LIMITS = RequestLimits(max_json_depth=20, max_json_values=500, max_messages=5, max_images=2)
FIELDS = {*MessagesFields.model_fields, *MessagesFields.refused, *MessagesFields.ignored}
KEYS = FIELDS.union(
    ("role", "content", "type", "text", "source", "data", "media_type", "url", "input", "name", "id")
).union(("tool_use_id", "thinking", "input_schema", "format", "effort"))
WORDS = (
    *(
        "user",
        "assistant",
        "system",
        "text",
        "image",
        "base64",
        "url",
        "image/png",
        "tool_use",
        "tool_result",
    ),
    *("thinking", "custom", "auto", "any", "tool", "json_schema", "enabled", "«user»", "others", "«others»"),
)
values = anything(KEYS, WORDS)

texts = st.fixed_dictionaries({"type": st.just("text"), "text": st.text()})
sources = st.fixed_dictionaries(
    {"type": st.just("base64"), "media_type": st.just("image/png"), "data": st.text()}
) | st.fixed_dictionaries({"type": st.just("url"), "url": st.text()})
images = st.fixed_dictionaries({"type": st.just("image"), "source": sources})
visible = st.lists(texts | images, max_size=3)
results = st.fixed_dictionaries(
    {"type": st.just("tool_result"), "tool_use_id": st.text()}, optional={"content": st.text() | visible}
)
objects = st.dictionaries(st.text(), st.text() | st.integers(-5, 5), max_size=2)
uses = st.fixed_dictionaries(
    {"type": st.just("tool_use"), "id": st.text(), "name": st.text(), "input": objects}
)
users = st.fixed_dictionaries(
    {"role": st.just("user"), "content": st.text() | st.lists(texts | images | results, max_size=3)}
)
assistants = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.text() | st.lists(texts | uses, max_size=3)}
)
turns = users | assistants
bad_turns = st.fixed_dictionaries(
    {"role": st.sampled_from(WORDS)}, optional={"content": values | st.lists(texts | images | values)}
)
good = st.fixed_dictionaries(
    {"messages": st.lists(turns, min_size=1, max_size=3), "max_tokens": st.integers(1, 9)}
)
bad = spoilt(
    st.fixed_dictionaries({"messages": st.lists(turns | bad_turns), "max_tokens": st.integers()}),
    FIELDS,
    values,
)


def outcome(value: Any) -> MessagesQuestion | RequestError:
    try:
        body = json.dumps(value).encode()
        return Messages().read(body, LIMITS, models=("demo",), request_id="r", caller=ANYBODY)
    except RequestError as error:
        assert error.message.isprintable()
        json.dumps([error.message, error.param], ensure_ascii=False).encode()
        return error


@given(values | good | bad)
def test_any_json(value: Any) -> None:
    result = outcome(value)
    if isinstance(result, RequestError):
        # the path is the client's own, whatever chat calls the same thing
        assert (result.param or "").split(".")[0].split("[")[0] not in ChatFields.model_fields.keys() - FIELDS
        assert "image_url" not in (result.param or "")
        return
    payload = result.request.payload
    json.dumps(payload, allow_nan=False, ensure_ascii=False).encode()
    found = [
        (row, column)
        for row, message in enumerate(payload["messages"])
        if isinstance(message.get("content"), list)
        for column, part in enumerate(message["content"])
        if part["type"] == "image_url"
    ]
    assert [(image.message, image.part) for image in result.request.images] == found
    assert all(image.path.endswith(".source") for image in result.request.images)


@given(good)
def test_a_good_request_is_taken(value: Any) -> None:
    many = json.dumps(value).count('"source"') > 2
    empty = all(turn == {"role": "assistant", "content": []} for turn in value["messages"])
    assert isinstance(outcome(value), RequestError if many or empty else MessagesQuestion)


@given(value=values | bad)
async def test_any_json_is_answered(value: Any) -> None:
    harness = Harness(pipeline=Answering(completion("hello")))
    call = await Call(harness.api, "/v1/messages", json.dumps(value).encode()).run()
    assert call.status in (200, 400, 404)
    assert call.body

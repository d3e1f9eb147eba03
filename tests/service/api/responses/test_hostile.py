"""Whatever the bytes are, the answer is a request or a refusal in words."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.chat.fields import ChatFields
from service.api.limits import RequestLimits
from service.api.responses.dialect import Responses, ResponsesQuestion
from service.api.responses.fields import ResponsesFields
from service.domain import ANYBODY
from service.errors import RequestError
from tests.service.api.answers import Answering, completion
from tests.service.api.fakes import Call, Harness
from tests.service.api.hostile import anything, spoilt

pytestmark = pytest.mark.anyio
LIMITS = RequestLimits(max_json_depth=20, max_json_values=500, max_messages=5, max_images=2)
FIELDS = {*ResponsesFields.model_fields, *ResponsesFields.refused, *ResponsesFields.ignored}
KEYS = FIELDS.union(
    (
        "role",
        "content",
        "type",
        "text",
        "image_url",
        "detail",
        "file_id",
        "output",
        "call_id",
        "name",
        "arguments",
    )
).union(("summary", "format", "schema", "effort", "parameters"))
WORDS = (
    *("user", "assistant", "developer", "message", "input_text", "input_image", "output_text", "function"),
    *("function_call", "function_call_output", "reasoning", "json_schema", "«user»", "others", "«others»"),
)
values = anything(KEYS, WORDS)

texts = st.fixed_dictionaries({"type": st.just("input_text"), "text": st.text()})
images = st.fixed_dictionaries({"type": st.just("input_image"), "image_url": st.text()})
parts = st.lists(texts | images, max_size=3)
users = st.fixed_dictionaries({"role": st.just("user"), "content": st.text() | parts})
said = st.fixed_dictionaries({"role": st.just("assistant"), "content": st.text()})
calls = st.fixed_dictionaries(
    {"type": st.just("function_call"), "call_id": st.text(), "name": st.text(), "arguments": st.text()}
)
results = st.fixed_dictionaries(
    {"type": st.just("function_call_output"), "call_id": st.text(), "output": st.text() | parts}
)
items = users | said | calls | results
bad_items = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(WORDS),
        "role": st.sampled_from(WORDS),
        "content": values,
        "output": values,
    },
)
good = st.fixed_dictionaries({"input": st.text() | st.lists(items, min_size=1, max_size=3)})
bad = spoilt(st.fixed_dictionaries({"input": st.lists(items | bad_items | values)}), FIELDS, values)


def outcome(value: Any) -> ResponsesQuestion | RequestError:
    try:
        body = json.dumps(value).encode()
        return Responses().read(body, LIMITS, models=("demo",), request_id="r", caller=ANYBODY)
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
    assert all(image.path.startswith("input[") for image in result.request.images)


@given(good)
def test_a_good_request_is_taken(value: Any) -> None:
    written = json.dumps(value["input"])
    many = written.count('"image_url"') > 2
    result = outcome(value)
    if not isinstance(result, ResponsesQuestion):
        assert many or "arguments" in (result.param or "")


@given(value=values | bad)
async def test_any_json_is_answered(value: Any) -> None:
    harness = Harness(pipeline=Answering(completion("hello")))
    call = await Call(harness.api, "/v1/responses", json.dumps(value).encode()).run()
    assert call.status in (200, 400, 404)
    assert json.loads(call.body)

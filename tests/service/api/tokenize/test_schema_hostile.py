"""Whatever the bytes are, the answer is a request or a refusal in words: completions, texts and tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.completions.fields import CompletionFields
from service.api.completions.schema import parse_completion
from service.api.tokenize.fields import PromptFields
from service.api.tokenize.schema import parse_detokenize, parse_tokenize
from service.domain import ChatRequest
from service.errors import RequestError
from tests.service.api.chat.test_schema_hostile import LIMITS, bad_bodies, values

prompts = st.text(min_size=1) | st.lists(st.text(min_size=1), min_size=1, max_size=4)
tokens = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5)
NAMES = sorted({*CompletionFields.model_fields, *PromptFields.model_fields, *PromptFields.refused, "tokens"})
bodies = st.builds(
    lambda body, more: body | more,
    st.fixed_dictionaries({}, optional={"prompt": prompts | tokens | values, "tokens": tokens | values}),
    st.dictionaries(st.sampled_from(NAMES), values, max_size=2),
)


@pytest.mark.parametrize("parse", [parse_completion, parse_tokenize, parse_detokenize])
@given(body=bodies | bad_bodies | values)
def test_any_json(parse: Callable[..., ChatRequest], body: Any) -> None:
    try:
        request = parse(json.dumps(body).encode(), LIMITS, models=("demo",))
    except RequestError as error:
        assert error.message.isprintable()
        json.dumps([error.message, error.param], ensure_ascii=False).encode()
        return
    json.dumps(request.payload, allow_nan=False)
    assert None not in request.payload.values() and request.payload["model"] == "demo"


@given(prompt=prompts | tokens | st.lists(tokens, min_size=1, max_size=4))
def test_a_good_prompt_is_taken_as_it_is(prompt: Any) -> None:
    assert parse_completion(json.dumps({"prompt": prompt}).encode(), LIMITS).payload["prompt"] == prompt

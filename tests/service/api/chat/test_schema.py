import ast
import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.api.chat.fields import ChatFields
from service.api.chat.schema import parse_chat
from service.api.limits import RequestLimits
from service.api.sampling.fields import NO_EFFECT
from service.domain import Caller, ChatRequest, Detail, ImageRef
from service.errors import InvalidRequest, ModelNotFound, RequestError, TooManyImages

CALLER = Caller(name="a", tenant="t")
LIMITS = RequestLimits(max_images=3, max_choices=4, max_stop=2, max_top_logprobs=5, max_schema_bytes=200)
USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def parse(limits: RequestLimits = LIMITS, **fields: Any) -> ChatRequest:
    body = json.dumps({"messages": [USER]} | fields).encode()
    return parse_chat(body, limits, models=("demo", "lora"), request_id="r", caller=CALLER)


def refuse(**fields: Any) -> RequestError:
    with pytest.raises(RequestError) as refused:
        parse(**fields)
    return refused.value


def part(*parts: Any, role: str = "user", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(parts), **more}]}


def image(url: str = "http://x/a.png", **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def test_text_alone() -> None:
    request = parse(temperature=0, stream=True, stream_options={"include_usage": True})
    assert request == ChatRequest(
        payload={
            "messages": [USER],
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "model": "demo",
        },
        images=(),
        model="demo",
        stream=True,
        include_usage=True,
        request_id="r",
        caller=CALLER,
    )


def test_images_are_found_in_every_turn_with_their_places_and_paths() -> None:
    request = parse(
        messages=[
            {"role": "system", "content": [{"type": "text", "text": "be kind"}]},
            {"role": "user", "content": [image("data:,1", detail="low"), {"type": "text", "text": "?"}]},
            {"role": "assistant", "content": "a cat"},
            {"role": "user", "content": [{"type": "text", "text": "?"}, image("data:,2")]},
            {"role": "tool", "tool_call_id": "1", "content": [image("data:,3", detail="high")]},
        ]
    )
    assert request.images == (
        ImageRef("data:,1", Detail.LOW, 1, 0, "messages[1].content[0].image_url.url"),
        ImageRef("data:,2", Detail.AUTO, 3, 1, "messages[3].content[1].image_url.url"),
        ImageRef("data:,3", Detail.HIGH, 4, 0, "messages[4].content[0].image_url.url"),
    )


@pytest.mark.parametrize("role", ["system", "developer"])
def test_an_image_may_stand_in_front_of_the_conversation(role: str) -> None:
    request = parse(messages=[{"role": role, "content": [image("data:,0")]}, USER])
    assert request.images == (ImageRef("data:,0", Detail.AUTO, 0, 0, "messages[0].content[0].image_url.url"),)


def test_what_the_client_wrote_is_what_the_engine_reads() -> None:
    fields = {
        "temperature": 1,
        "top_k": -1,
        "logit_bias": {"17": -100},
        "tools": [TOOL],
        "tool_choice": "auto",
        "seed": -(2**63),
        "stop": ["a", "b"],
        "logprobs": True,
        "top_logprobs": 5,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    assert parse(**fields).payload == {"messages": [USER], "model": "demo"} | fields


def test_openai_s_own_business_and_nulls_are_not_forwarded() -> None:
    fields = {"user": "me", "metadata": {"a": "b"}, "store": False, "n": None, "include_reasoning": None}
    assert parse(**fields).payload == {"messages": [USER], "model": "demo"}


def test_an_answer_can_be_sent_back_as_it_came() -> None:
    answer = dict.fromkeys(("content", "refusal", "annotations", "audio", "function_call", "reasoning"))
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "index": 0}
    parse(messages=[USER, {"role": "assistant", "tool_calls": [], **answer}])
    parse(messages=[USER, {"role": "assistant", "tool_calls": [call], **answer}])


@pytest.mark.parametrize("asked, model", [({}, "demo"), ({"model": ""}, "demo"), ({"model": "lora"}, "lora")])
def test_the_model_that_is_asked(asked: dict[str, str], model: str) -> None:
    request = parse(**asked)
    assert (request.model, request.payload["model"]) == (model, model)


def test_an_unknown_model() -> None:
    error = refuse(model="gpt-9")
    assert isinstance(error, ModelNotFound)
    assert error.message == "The model \"gpt-9\" is not served here. Models served: 'demo', 'lora'."


REFUSED = [
    ({"messages": []}, "messages", "empty"),
    ({"messages": "hi"}, "messages", 'an array; received "hi"'),
    ({"messages": [5]}, "messages[0]", "an object; received 5"),
    ({"messages": [{"content": "x"}]}, "messages[0].role", "required: one of 'system', 'developer', 'user'"),
    ({"messages": [{"role": "robot"}]}, "messages[0].role", 'received "robot"'),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "required"),
    (
        {"messages": [{"role": "user", "content": 5}]},
        "messages[0].content",
        "a string or an array; received 5",
    ),
    ({"messages": [{**USER, "tools": []}]}, "messages[0].tools", "docs/api.md"),
    ({"max_token": 5}, "max_token", "Did you mean max_tokens"),
    ({"stream": "yes"}, "stream", 'boolean; received "yes"'),
    ({"max_tokens": 5.5}, "max_tokens", "integer; received 5.5"),
    ({"top_k": 1e300}, "top_k", "integer; received 1e+300"),
    ({"stop_token_ids": [True]}, "stop_token_ids[0]", "integer; received true"),
    ({"max_tokens": True}, "max_tokens", "integer; received true"),
    ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1; received 0"),
    ({"temperature": 2.1}, "temperature", "less than or equal to 2; received 2.1"),
    ({"top_p": 0}, "top_p", "greater than 0"),
    ({"repetition_penalty": 1e-300}, "repetition_penalty", "0.001; received 1e-300"),
    ({"repetition_penalty": 1e300}, "repetition_penalty", "1000; received 1e+300"),
    ({"seed": 2**63}, "seed", "less than"),
    ({"seed": 2**65}, "seed", "64 bits"),
    ({"logit_bias": {"word": 1}}, "logit_bias.word", "pattern"),
    ({"logit_bias": {"1": 101}}, "logit_bias['1']", "less than or equal to 100"),
    ({"stop": [""]}, "stop[0]", "empty"),
    ({"stop_token_ids": [-1]}, "stop_token_ids[0]", "greater than or equal to 0"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "'json_schema'"),
    ({"structured_outputs": {"_backend": "x"}}, "structured_outputs._backend", "not accepted"),
    ({"tools": []}, "tools", "empty"),
    ({"tools": [TOOL | {"cache": 1}]}, "tools[0].cache", "not accepted"),
    ({"tool_choice": "maybe"}, "tool_choice", "'none', 'auto' or 'required'"),
    ({"chat_template_kwargs": {"tokenize": True}}, "chat_template_kwargs.tokenize", "own chat template"),
    ({"modalities": ["audio"]}, "modalities[0]", "'text'"),
    # meaningless without another field
    ({"stream_options": {"include_usage": True}}, "stream_options", "stream to be true"),
    ({"top_logprobs": 1}, "top_logprobs", "logprobs"),
    ({"tool_choice": "auto"}, "tool_choice", "tools"),
    # over a cap
    ({"n": 5}, "n", "5 answers are too many; at most 4"),
    ({"max_completion_tokens": 10**7}, "max_completion_tokens", "at most 1000000"),
    ({"stop": ["a", "b", "c"]}, "stop", "3 strings are too many; at most 2"),
    ({"logprobs": True, "top_logprobs": 6}, "top_logprobs", "at most 5"),
    ({"tools": [TOOL] * 3}, "tools", "bytes of JSON are too many; at most 200"),
    ({"structured_outputs": {"regex": "a" * 200}}, "structured_outputs", "at most 200"),
    # tensors, cache names and templates never come from a client
    ({"prompt_embeds": "x"}, "prompt_embeds", "tensors"),
    ({"cache_salt": "x"}, "cache_salt", "API key"),
    ({"chat_template": "{{ 1 }}"}, "chat_template", "template"),
    ({"mm_processor_kwargs": {"a": 1}}, "mm_processor_kwargs", "detail"),
    ({"media_io_kwargs": {"image": {}}}, "media_io_kwargs", "detail"),
    ({"kv_transfer_params": {}}, "kv_transfer_params", "engine"),
    ({"ec_transfer_params": {}}, "ec_transfer_params", "engine"),
    ({"priority": 1}, "priority", "engine"),
    ({"guided_json": {}}, "guided_json", "response_format"),
    (part({"type": "image_embeds", "image_embeds": "x"}), "messages[0].content[0].type", '"image_embeds"'),
    (part(image() | {"uuid": "u"}), "messages[0].content[0].uuid", "content"),
    (part(image(uuid="u")), "messages[0].content[0].image_url.uuid", "content"),
    (part({"type": "text", "text": "x", "uuid": "u"}), "messages[0].content[0].uuid", "content"),
    # parts
    (part({"type": "text", "text": 5}), "messages[0].content[0].text", "string; received 5"),
    (part({"type": "text"}), "messages[0].content[0].text", "required"),
    (part({"text": "x"}), "messages[0].content[0].type", "required: one of 'text', 'image_url'"),
    (part("x"), "messages[0].content[0]", 'an object; received "x"'),
    (part({"type": "input_audio"}), "messages[0].content[0].type", 'received "input_audio"'),
    (part({"type": "video_url"}), "messages[0].content[0].type", 'received "video_url"'),
    (part({"type": "file"}), "messages[0].content[0].type", 'received "file"'),
    (
        part({"type": "image_url", "image_url": 5}),
        "messages[0].content[0].image_url",
        "a string or an object",
    ),
    (part(image(min_pixels=1)), "messages[0].content[0].image_url.min_pixels", "detail"),
    (part(image() | {"detail": "low"}), "messages[0].content[0].detail", "inside image_url"),
    (part(image(detail="full")), "messages[0].content[0].image_url.detail", "'low', 'high', 'auto' or"),
    (
        part({**image(), "type": "text", "text": "a"}),
        "messages[0].content[0].image_url",
        "a part of type image_url",
    ),
    (part(image(), role="assistant"), "messages[0].content[0].type", "'text', 'refusal'"),
    (part({"type": "input_image", "image_url": "x"}), "messages[0].content[0].type", "An image is written {"),
    (
        part({"image_url": {"url": "x"}}),
        "messages[0].content[0].type",
        '{"type": "image_url", "image_url": {"url"',
    ),
]


@pytest.mark.parametrize("fields, path, words", REFUSED, ids=lambda value: str(value)[:40])
def test_refused_with_path_and_words(fields: dict[str, Any], path: str, words: str) -> None:
    error = refuse(**fields)
    assert isinstance(error, InvalidRequest)
    assert error.param == path
    assert words in error.message
    assert "«" not in error.message


def test_a_long_value_is_not_repeated() -> None:
    error = refuse(**part(image(detail="x" * 10_000)))
    assert "(10000 characters)" in error.message
    assert len(error.message) < 300


def test_a_long_name_is_cut() -> None:
    error = refuse(**{"x" * 10_000: 1})
    assert error.param == "['" + "x" * 64 + "…']"


def test_too_many_images() -> None:
    error = refuse(**part(*[image()] * 4))
    assert isinstance(error, TooManyImages)
    assert error.param == "messages[0].content[3].image_url.url"
    assert "at most 3" in error.message and "max_images" in error.message


def test_more_images_than_the_model_takes() -> None:
    error = refuse(limits=replace(LIMITS, model_images=1), **part(*[image()] * 2))
    assert isinstance(error, TooManyImages)
    assert error.param == "messages[0].content[1].image_url.url"
    assert "image number 2; this model takes at most 1" in error.message


def test_too_many_messages() -> None:
    with pytest.raises(InvalidRequest, match="5 messages are too many; at most 4"):
        parse(RequestLimits(max_messages=4), messages=[USER] * 5)


@pytest.mark.parametrize("body", [b"[]", b"5", b'"x"', b"null"])
def test_a_body_that_is_no_object(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="should be a JSON object"):
        parse_chat(body, LIMITS)


def test_every_forwarded_field_is_one_that_vllm_reads_and_each_of_its_fields_is_known() -> None:
    vllm = importlib.util.find_spec("vllm")
    if vllm is None or vllm.origin is None:
        pytest.skip("vLLM is not installed")
    source = Path(vllm.origin).parent / "entrypoints" / "openai" / "chat_completion" / "protocol.py"
    classes = {
        node.name: node for node in ast.parse(source.read_text()).body if isinstance(node, ast.ClassDef)
    }
    read = {
        node.target.id
        for node in classes["ChatCompletionRequest"].body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    assert ChatFields.model_fields.keys() - NO_EFFECT <= read
    read = {name for name in read if not name.startswith("_")}
    assert read <= ChatFields.model_fields.keys() | NO_EFFECT | ChatFields.refused.keys()


def test_a_caller_s_models_are_the_only_ones_it_is_told_of() -> None:
    body = json.dumps({"messages": [USER]}).encode()
    asked = json.dumps({"messages": [USER], "model": "demo"}).encode()
    lora = Caller(models=frozenset({"lora", "elsewhere"}))
    assert parse_chat(body, LIMITS, models=("demo", "lora"), caller=lora).model == "lora"
    with pytest.raises(ModelNotFound, match="not served here for this API key.*: 'lora'"):
        parse_chat(asked, LIMITS, models=("demo", "lora"), caller=lora)
    with pytest.raises(ModelNotFound, match="may not use any of the models"):
        parse_chat(body, LIMITS, models=("demo",), caller=lora)

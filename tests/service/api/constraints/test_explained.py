"""What the engine says of a constraint, in words for clients: the field, and nothing of the engine's code."""

from __future__ import annotations

from typing import Any

import pytest

from service.api.constraints.explained import explained
from service.errors import EngineRejected, InvalidRequest

SCHEMA = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}}
REGEX = {"structured_outputs": {"json": None, "regex": "a"}}


@pytest.mark.parametrize(
    "message, payload, told",
    [
        (
            "Failed to transform regex into a grammar: [12:34:56] /project/cpp/regex_converter.cc:54: Regex parsing "
            "error at position 1: Lookahead is not supported yet.\nbacktrace",
            REGEX,
            "structured_outputs.regex: the engine cannot hold an answer to this: Regex parsing error at position 1: "
            "Lookahead is not supported yet.",
        ),
        (
            "Failed to transform json schema into a grammar: [12:34:56] /project/cpp/json.cc:936: Check failed: (val "
            "<= MAX_INT64_AS_DOUBLE) is false: Integer exceeds maximum limit",
            SCHEMA,
            "response_format.json_schema.schema: the engine cannot hold an answer to this: Integer exceeds maximum "
            "limit.",
        ),
        (
            "The provided JSON schema contains features not supported by xgrammar.",
            SCHEMA,
            "response_format.json_schema.schema: the engine cannot hold an answer to this.",
        ),
        (
            "Invalid structural tag specification.",
            {"tools": [{}]},
            "tools: the engine cannot hold an answer to this.",
        ),
    ],
)
def test_told(message: str, payload: dict[str, Any], told: str) -> None:
    error = explained(EngineRejected(message, status=400), payload)
    assert isinstance(error, InvalidRequest)
    assert (error.message, error.param) == (told, told.partition(":")[0])


PICTURE = {"type": "image_url", "image_url": {"url": "x"}}
COUNTED = "the prompt has 0 image placeholders for 1 images: text may not contain the placeholder"


@pytest.mark.parametrize("role", ["system", "developer"])
def test_an_image_for_which_the_template_has_no_place(role: str) -> None:
    payload = {
        "messages": [{"role": "user", "content": [PICTURE]}, {"role": role, "content": ["?", PICTURE]}]
    }
    payload["messages"][1]["content"][0] = {"type": "text", "text": "?"}
    error = explained(EngineRejected(COUNTED, status=400), payload)
    assert error.param == "messages[1].content[1]" and "send it in a user message" in error.message


@pytest.mark.parametrize(
    "messages", [[], [{"role": "system", "content": "be kind"}], [{"role": "user", "content": [PICTURE]}]]
)
def test_other_miscounts_stay_as_they_are(messages: list[Any]) -> None:
    error = EngineRejected(COUNTED, status=400)
    assert explained(error, {"messages": messages}) is error


@pytest.mark.parametrize("payload", [{}, REGEX, {"response_format": {"type": "text"}}])
def test_other_refusals_stay_as_they_are(payload: dict[str, Any]) -> None:
    error = EngineRejected("temperature must be less", status=400)
    assert explained(error, payload) is error

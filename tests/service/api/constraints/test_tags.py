"""Structural tags: what lies in their free text is held to the same bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.api.constraints.budget import Budget, ConstraintLimits
from service.api.constraints.tags import check_tag
from service.errors import InvalidRequest


def tag(content: Any) -> str:
    inner = {"type": "tag", "begin": "<f>", "content": content, "end": "</f>"}
    triggered = {"type": "triggered_tags", "triggers": ["<f"], "tags": [inner]}
    return json.dumps({"type": "structural_tag", "format": triggered})


def check(text: str) -> None:
    check_tag(text, "t", Budget(ConstraintLimits()))


LEGACY = {"structures": [{"begin": "<f>", "schema": {"type": "object"}, "end": "</f>"}], "triggers": ["<f"]}


@pytest.mark.parametrize(
    "text",
    [
        tag(
            {
                "type": "json_schema",
                "json_schema": {"type": "object", "properties": {"a": {"type": "string"}}},
            }
        ),
        tag({"type": "grammar", "grammar": 'root ::= "a"'}),
        tag({"type": "regex", "pattern": "a|b"}),
        tag({"type": "any_text", "max_tokens": 1_000_000}),
        tag({"type": "repeat", "min": 1, "max": 8, "content": {"type": "const_string", "value": "a"}}),
        json.dumps(LEGACY),
    ],
)
def test_ordinary_tags_pass(text: str) -> None:
    check(text)


def repeated(levels: int) -> Any:
    content: Any = {"type": "const_string", "value": "a"}
    for _ in range(levels):
        content = {"type": "repeat", "min": 100, "max": 100, "content": content}
    return content


@pytest.mark.parametrize(
    "text, path, words",
    [
        ("{", "t", "not valid JSON"),
        ("[]", "t", "should be a JSON object"),
        ("[" * 100_000, "t", "nested too deeply"),
        (
            tag({"type": "regex", "pattern": "(("}),
            "t.format.tags[0].content.pattern",
            "not a regular expression",
        ),
        (
            tag({"type": "grammar", "grammar": "root ::= root"}),
            "t.format.tags[0].content.grammar",
            "never ends",
        ),
        (
            tag({"type": "json_schema", "json_schema": {"pattern": "(" * 65 + ")" * 65}}),
            "t.format.tags[0].content.json_schema.pattern",
            "more than 64 groups",
        ),
        (tag(repeated(2)), "t.format.tags[0].content", "states"),
        (
            tag({"type": "repeat", "min": 0, "max": 10**6, "content": {}}),
            "t.format.tags[0].content",
            "repetitions",
        ),
        (json.dumps({"structures": [{"schema": {"type": "x"}}]}), "t.structures[0].schema.type", "'string'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_refused(text: str, path: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        check(text)
    assert str(error.value.param).startswith(path) and words in error.value.message

"""White space in structural tags, in vLLM's own backend for structured output."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from service.engine.plugin.blanks import bounded
from service.settings import EMBEDDED_MODEL

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "blue"]},
        "sizes": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["colour", "sizes"],
    "additionalProperties": False,
}
BEGIN, END = "<tool_call>", "</tool_call>"
CALL = {"begin": BEGIN, "end": END}
TAG = {"type": "tag", "content": {"type": "json_schema", "json_schema": SCHEMA}, **CALL}
NEW = json.dumps({"type": "structural_tag", "format": TAG})
OLD = json.dumps(
    {"type": "structural_tag", "structures": [{"schema": SCHEMA, **CALL}], "triggers": ["<tool"]}
)
ANY = json.dumps(
    {"type": "structural_tag", "format": {**TAG, "content": {"type": "json_schema", "json_schema": True}}}
)

TIGHT = [
    '{"colour":"red","sizes":[1,2]}',
    '{"colour": "red", "sizes": [1, 2]}',
]
LOOSE = [
    '{\n\n"colour": "red", "sizes": []}',
    '{"colour":  "red", "sizes": []}',
    '{"colour": "red", "sizes": [1,\n  2]}',
    '{"colour": "red", "sizes": []  }',
]

PROGRAM = f"""
import json, sys
import xgrammar
from transformers import AutoTokenizer
from service.engine.plugin import register

register()
from vllm.v1.structured_output.backend_types import StructuredOutputOptions
from vllm.v1.structured_output.backend_xgrammar import XgrammarBackend

tokenizer = AutoTokenizer.from_pretrained({str(EMBEDDED_MODEL)!r})
backend = object.__new__(XgrammarBackend)
backend.vocab_size, backend.num_speculative_tokens = len(tokenizer), 0
vocabulary = xgrammar.TokenizerInfo.from_huggingface(tokenizer)
backend.compiler = backend.full_vocab_compiler = xgrammar.GrammarCompiler(vocabulary)  # 0.33 has both
asked = json.load(sys.stdin)


def taken(tag, text):
    grammar = backend.compile_grammar(StructuredOutputOptions.STRUCTURAL_TAG, tag, stop_token_ids=None)
    return grammar.matcher.accept_string(text)


answers = []
for backend.disable_any_whitespace in (True, False):
    answers.append([[taken(tag, text) for text in asked["texts"]] for tag in asked["tags"]])
print(json.dumps(answers))
"""


def taken(texts: list[str], **environment: str) -> list[list[list[bool]]]:
    """Which of these calls the backend lets a model write, for each of three tags: where vLLM was told to disable white
    space, and where it was not."""
    asked = {"tags": [NEW, OLD, ANY], "texts": [f"{BEGIN}{text}{END}" for text in texts]}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(asked),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return list(json.loads(ran.stdout))


def test_an_engine_that_patchbay_starts_writes_one_blank_at_most_where_none_is_wanted() -> None:
    tight, loose = [True] * len(TIGHT), [False] * len(LOOSE)
    wanted = [True] * len(TIGHT + LOOSE)
    assert taken([*TIGHT, *LOOSE], PATCHBAY_ENGINE="1") == [[tight + loose] * 3, [wanted] * 3]


def test_another_vllm_is_left_alone() -> None:
    assert taken(LOOSE) == [[[True] * len(LOOSE)] * 3] * 2, "no mend is needed any more"


def test_what_has_a_bound_of_its_own_and_what_is_not_json_stay() -> None:
    parts = [
        {"type": "json_schema", "json_schema": SCHEMA, "max_whitespace_cnt": 7},
        {"type": "json_schema", "json_schema": SCHEMA, "style": "qwen_xml"},
        {"type": "regex", "pattern": " *"},
    ]
    tag = json.dumps({"type": "structural_tag", "format": {"type": "or", "elements": parts}})
    assert json.loads(bounded(tag)) == json.loads(tag)


@pytest.mark.parametrize("style", [{}, {"style": "json"}])
def test_a_schema_is_never_looked_into(style: dict[str, str]) -> None:
    schema = {"const": {"type": "json_schema", "json_schema": True}}
    part = {"type": "json_schema", "json_schema": schema, **style}
    told = json.loads(bounded(json.dumps({"type": "structural_tag", "format": part})))
    assert told["format"] == {**part, "max_whitespace_cnt": 1}

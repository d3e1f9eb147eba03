"""White space in the arguments of tool calls.

vLLM's `disable_any_whitespace` reaches JSON schemas only. A call's arguments stand in a structural tag, whose JSON may
have white space between its values without end, and a model that has learnt little JSON writes it without end.
xgrammar can bound what is written in one place; one character leaves JSON as compact, and as Python's, writes it.
"""

from __future__ import annotations

import json
from typing import Any

LONGEST = 1
"""Characters of white space side by side; xgrammar has no bound below it."""


def bounded(structural_tag: str) -> str:
    """The same tag, in JSON, with the bound in each of its JSON schemas that has none of its own."""
    tag = json.loads(structural_tag)
    if "structures" in tag:
        tag = {"type": "structural_tag", "format": _as_format(tag)}
    _bound(tag)
    return json.dumps(tag)


def bound_blanks() -> None:
    """Has this process compile structural tags so wherever vLLM was told to disable white space; twice is harmless."""
    from vllm.v1.structured_output.backend_types import StructuredOutputOptions
    from vllm.v1.structured_output.backend_xgrammar import XgrammarBackend

    compile_grammar = XgrammarBackend.compile_grammar

    def compile_bounded(self: XgrammarBackend, kind: Any, spec: str, *others: Any, **named: Any) -> Any:
        if kind == StructuredOutputOptions.STRUCTURAL_TAG and self.disable_any_whitespace:
            spec = bounded(spec)
        return compile_grammar(self, kind, spec, *others, **named)

    XgrammarBackend.compile_grammar = compile_bounded


def _as_format(tag: dict[str, Any]) -> dict[str, Any]:
    """What `structures` and `triggers`, the older way to write a tag, stand for."""
    tags = [
        {
            "type": "tag",
            "begin": structure["begin"],
            "content": {"type": "json_schema", "json_schema": structure["schema"]},
            "end": structure["end"],
        }
        for structure in tag["structures"]
    ]
    return {"type": "triggered_tags", "triggers": tag["triggers"], "tags": tags}


def _bound(part: Any) -> None:
    """In place. What stands within a schema belongs to the schema."""
    if isinstance(part, list):
        for each in part:
            _bound(each)
    elif isinstance(part, dict):
        if part.get("type") != "json_schema":
            _bound(list(part.values()))
        elif part.get("style", "json") == "json" and part.get("max_whitespace_cnt") is None:
            part["max_whitespace_cnt"] = LONGEST

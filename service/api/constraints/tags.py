"""A structural tag before the engine compiles it: JSON in which schemas, grammars and patterns lie in free text.

https://xgrammar.mlc.ai/docs/structural_tag/structural_tag.html
"""

from __future__ import annotations

import json
from typing import Any

from service.api.constraints.budget import Budget
from service.api.constraints.grammars import check_grammar
from service.api.constraints.schemas import check_schema
from service.api.sentences import child
from service.errors import InvalidRequest

SCHEMAS = ("json_schema", "schema")
FORMAT = 16
"""States of each format, or of each member of one, beside its texts."""


def check_tag(text: str, path: str, budget: Budget) -> None:
    """Raises InvalidRequest."""
    try:
        tag = json.loads(text)
    except RecursionError:
        raise InvalidRequest(f"{path} is JSON that is nested too deeply.", param=path) from None
    except ValueError as error:
        raise InvalidRequest(f"{path} is not valid JSON: {error}.", param=path) from None
    if not isinstance(tag, dict):
        raise InvalidRequest(f"{path} should be a JSON object in a string.", param=path)
    budget.depth(tag, path)
    pending: list[tuple[Any, str, int]] = [(tag, path, 1)]
    while pending:
        value, where, times = pending.pop()
        if isinstance(value, list):
            pending.extend((item, child(where, index), times) for index, item in enumerate(value))
        elif isinstance(value, dict):
            times *= _repetitions(value, where, budget)
            budget.take(FORMAT * times, where)
            for name, member in value.items():
                at = child(where, name)
                if isinstance(member, (dict, list)) and name not in SCHEMAS:
                    pending.append((member, at, times))
                else:
                    _check_member(name, member, at, budget)


def _repetitions(value: dict[str, Any], path: str, budget: Budget) -> int:
    counts: list[int] = [value[name] for name in ("min", "max") if isinstance(value.get(name), int)]
    for count in counts:
        budget.count(count, path)
    return max([1, *counts])


def _check_member(name: str, member: Any, path: str, budget: Budget) -> None:
    if name in SCHEMAS:
        check_schema(member, path, budget)
    elif isinstance(member, str) and name == "grammar":
        check_grammar(member, path, budget)
    elif isinstance(member, str) and name == "pattern":
        budget.pattern(member, path)
    elif isinstance(member, str):
        budget.take(len(member), path)

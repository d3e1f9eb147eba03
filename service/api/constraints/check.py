"""Everything of a request that the engine compiles before it decodes, held to one budget."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from service.api.chat.fields import ChatFields
from service.api.constraints.budget import Budget
from service.api.constraints.enforced import check_enforced, enforced_part
from service.api.constraints.grammars import check_grammar
from service.api.constraints.schemas import check_schema
from service.api.constraints.tags import check_tag
from service.api.limits import RequestLimits
from service.api.sampling.fields import JsonSchemaFormat, SamplingFields, StructuredOutputs
from service.errors import InvalidRequest

TOOL = 64
"""States of a tool beside its parameters."""
UNCOMPILED = 10
"""Tools whose arguments the model writes freely may be so many times larger: only some engines compile them."""


def check_constraints(fields: SamplingFields, limits: RequestLimits) -> None:
    """Raises InvalidRequest, which names the schema, pattern or grammar at fault and the bound."""
    budget = Budget(limits.constraints)
    if isinstance(fields.response_format, JsonSchemaFormat):
        asked, path = fields.response_format.json_schema, "response_format.json_schema.schema"
        check_schema(asked.schema_, path, budget)
        if limits.xgrammar:
            check_enforced(asked.schema_ if asked.strict else enforced_part(asked.schema_), path)
    if fields.structured_outputs is not None:
        _check_structured(fields.structured_outputs, "structured_outputs", budget, limits.xgrammar)
    if isinstance(fields, ChatFields):
        written = Budget(replace(limits.constraints, max_states=UNCOMPILED * limits.constraints.max_states))
        _check_tools(fields, budget, written)


def _check_structured(outputs: StructuredOutputs, path: str, budget: Budget, xgrammar: bool) -> None:
    if outputs.json_ is not None:
        schema = _parsed(outputs.json_, f"{path}.json")
        check_schema(schema, f"{path}.json", budget)
        if xgrammar:
            check_enforced(schema, f"{path}.json")
    if outputs.regex is not None:
        budget.take(budget.pattern_states(outputs.regex, f"{path}.regex"), f"{path}.regex")
    if outputs.choice is not None:
        budget.values(outputs.choice, f"{path}.choice")
    if outputs.grammar is not None:
        check_grammar(outputs.grammar, f"{path}.grammar", budget)
    if outputs.structural_tag is not None:
        check_tag(outputs.structural_tag, f"{path}.structural_tag", budget)


def _check_tools(fields: ChatFields, compiled: Budget, written: Budget) -> None:
    for index, tool in enumerate(fields.tools or ()):
        path = f"tools[{index}].function"
        enforced = fields.forces_a_call or bool(tool.function.strict)
        budget = compiled if enforced else written
        budget.take(TOOL + len(tool.function.name), path)
        if tool.function.parameters is not None:
            check_schema(tool.function.parameters, f"{path}.parameters", budget, compiled=enforced)


def _parsed(schema: Any, path: str) -> Any:
    if not isinstance(schema, str):
        return schema
    try:
        parsed = json.loads(schema)
    except RecursionError:
        raise InvalidRequest(f"{path} is JSON that is nested too deeply.", param=path) from None
    except ValueError as error:
        raise InvalidRequest(f"{path} is not valid JSON: {error}.", param=path) from None
    if not isinstance(parsed, (dict, bool)):
        raise InvalidRequest(f"{path} should be a JSON schema: an object in a string.", param=path)
    return parsed

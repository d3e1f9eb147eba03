"""Tool-call arguments of earlier turns: JSON within a string, which the engine parses for the chat template.

Arguments that are not JSON are let through, as conversations would otherwise be lost for one bad answer of a model; the
engine reads them as an empty object.
"""

from __future__ import annotations

import json
from typing import Any

from service.api.chat.fields import ChatFields
from service.api.chat.messages import AssistantMessage, Message, ToolCall
from service.api.limits import RequestLimits
from service.errors import InvalidRequest


def check_arguments(fields: ChatFields, limits: RequestLimits) -> None:
    """Holds all arguments of a request to the limits of its body. Raises InvalidRequest, which names the first over."""
    values = 0
    for row, message in enumerate(fields.messages):
        for index, call in enumerate(_calls(message)):
            path = f"messages[{row}].tool_calls[{index}].function.arguments"
            text = call.function.arguments
            # the body's own count does not see those that are written as escapes
            values += text.count(",") + text.count("[") + text.count("{")
            if values > limits.max_json_values:
                raise InvalidRequest(
                    f"{path}: the arguments of all tool calls have {values} commas and opening brackets so far; at "
                    f"most {limits.max_json_values} are allowed.",
                    param=path,
                )
            _check_depth(text, path, limits.max_json_depth)


def _calls(message: Message) -> list[ToolCall]:
    return (message.tool_calls or []) if isinstance(message, AssistantMessage) else []


def _check_depth(text: str, path: str, most: int) -> None:
    try:
        deep = _deeper_than(most, json.loads(text))
    except RecursionError:
        deep = True
    except json.JSONDecodeError:
        deep = False
    except ValueError:
        raise InvalidRequest(f"{path} has an integer of too many digits.", param=path) from None
    if deep:
        raise InvalidRequest(f"{path} is JSON that is nested deeper than {most} levels.", param=path)


def _deeper_than(levels: int, value: Any) -> bool:
    """Whether more than so many objects and arrays lie in one another."""
    layer = [value]
    for _ in range(levels + 1):
        containers = [item for item in layer if isinstance(item, (dict, list))]
        if not containers:
            return False
        layer = [item for each in containers for item in (each.values() if isinstance(each, dict) else each)]
    return True

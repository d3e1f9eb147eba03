"""A request to the Responses API as a chat request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.api.chat.fields import ChatFields
from service.api.responses.fields import (
    LOGPROBS,
    FunctionChoice,
    FunctionTool,
    ObjectFormat,
    ResponsesFields,
    SchemaFormat,
)
from service.api.responses.items import (
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    InputSystemMessage,
    InputText,
    InputUserMessage,
    OutputMessage,
    OutputRefusal,
    OutputText,
    ReasoningItem,
)
from service.api.translation.conversation import Conversation
from service.api.translation.origins import Origins

SAME = sorted(
    (ResponsesFields.model_fields.keys() & ChatFields.model_fields.keys())
    - {"stream_options", "tools", "tool_choice"}
)
"""Fields that both have under the same name."""
RENAMED = {
    "messages": "input",
    "max_completion_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "response_format.json_schema": "text.format",
    "tool_choice.function": "tool_choice",
}


def chat_payload(payload: Mapping[str, Any], fields: ResponsesFields, origins: Origins) -> dict[str, Any]:
    """The body of a chat request; where its parts came from is entered in `origins`."""
    for chat, own in RENAMED.items():
        origins.add(chat, own)
    return {
        **{name: payload[name] for name in SAME if payload.get(name) is not None},
        "messages": _messages(fields, origins),
        **_length(fields),
        **_streaming(fields),
        **_logprobs(fields),
        **_effort(fields),
        **_tools(fields, origins),
        **_format(fields),
    }


def _messages(fields: ResponsesFields, origins: Origins) -> list[dict[str, Any]]:
    system = [fields.instructions] if fields.instructions else []
    talk = Conversation()
    if isinstance(fields.input, str):
        talk.begin("user", "input")
        talk.text(fields.input, "input")
    else:
        for index, item in enumerate(fields.input):
            _add(item, f"input[{index}]", talk, system)
    return talk.messages(system, origins)


def _add(item: Any, path: str, talk: Conversation, system: list[str]) -> None:
    match item:
        case InputUserMessage():
            talk.begin("user", path)
            _parts(item.content, f"{path}.content", talk)
        case InputSystemMessage() if not len(talk):
            texts = [item.content] if isinstance(item.content, str) else [part.text for part in item.content]
            system.extend(texts)
        case InputSystemMessage():
            talk.begin("system", path)
            _parts(item.content, f"{path}.content", talk)
        case OutputMessage():
            _answering(talk, path)
            _parts(item.content, f"{path}.content", talk)
        case ReasoningItem():
            if item.text:
                _answering(talk, path)
                talk.reasoning(item.text)
        case FunctionCall():
            talk.last("assistant", path)
            talk.call(item.call_id, item.name, item.arguments, path, "arguments")
        case FunctionCallOutput():
            talk.begin("tool", path, tool_call_id=item.call_id)
            _parts(item.output, f"{path}.output", talk)


def _answering(talk: Conversation, path: str) -> None:
    """An answer of the model: of the items that follow one another, one message has what comes before its calls."""
    message = talk.last("assistant", path)
    if message["content"] or "tool_calls" in message:
        talk.begin("assistant", path)


def _parts(content: Any, path: str, talk: Conversation) -> None:
    if isinstance(content, str):
        return talk.text(content, path)
    for index, part in enumerate(content):
        own = f"{path}[{index}]"
        match part:
            case InputText() | OutputText():
                talk.text(part.text, own)
            case OutputRefusal():
                talk.refusal(part.refusal, own)
            case InputImage():
                talk.image(part.image_url, f"{own}.image_url", part.detail)


def _length(fields: ResponsesFields) -> dict[str, Any]:
    most = fields.max_output_tokens
    return {} if most is None else {"max_completion_tokens": most}


def _streaming(fields: ResponsesFields) -> dict[str, Any]:
    return {"stream_options": {"include_usage": True}} if fields.stream else {}


def _logprobs(fields: ResponsesFields) -> dict[str, Any]:
    if not fields.top_logprobs and LOGPROBS not in (fields.include or ()):
        return {}
    return {"logprobs": True, "top_logprobs": fields.top_logprobs or 0}


def _effort(fields: ResponsesFields) -> dict[str, Any]:
    effort = fields.reasoning.effort if fields.reasoning else None
    return {} if effort is None else {"reasoning_effort": effort}


def _tools(fields: ResponsesFields, origins: Origins) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    if fields.tools:
        asked["tools"] = [_tool(tool, index, origins) for index, tool in enumerate(fields.tools)]
    if isinstance(fields.tool_choice, FunctionChoice):
        asked["tool_choice"] = {"type": "function", "function": {"name": fields.tool_choice.name}}
    elif fields.tool_choice is not None and (fields.tools or fields.tool_choice == "required"):
        asked["tool_choice"] = fields.tool_choice
    return asked


def _tool(tool: FunctionTool, index: int, origins: Origins) -> dict[str, Any]:
    origins.add(f"tools[{index}].function", f"tools[{index}]")
    members = {"description": tool.description, "parameters": tool.parameters, "strict": tool.strict}
    given = {name: value for name, value in members.items() if value is not None}
    return {"type": "function", "function": {"name": tool.name, **given}}


def _format(fields: ResponsesFields) -> dict[str, Any]:
    match fields.text.format if fields.text else None:
        case ObjectFormat():
            return {"response_format": {"type": "json_object"}}
        case SchemaFormat() as asked:
            members = {"description": asked.description, "strict": asked.strict}
            given = {name: value for name, value in members.items() if value is not None}
            schema = {"name": asked.name, "schema": asked.schema_, **given}
            return {"response_format": {"type": "json_schema", "json_schema": schema}}
        case _:
            return {}

"""A request to the Messages API as a chat request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from service.api.anthropic.blocks import (
    AssistantTurn,
    ImageBlock,
    SystemTurn,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    UserTurn,
)
from service.api.anthropic.fields import (
    AnyChoice,
    AutoChoice,
    CountFields,
    CustomTool,
    MessagesFields,
    NamedChoice,
    NoChoice,
)
from service.api.translation.conversation import Conversation
from service.api.translation.origins import Origins

BILLING = "x-anthropic-billing-header"
"""How Claude Code begins its system prompt: differently each time, so that no prompt would ever be cached."""
SAME = ("model", "max_tokens", "stream", "temperature", "top_p", "top_k")
"""Fields that both have under the same name."""
RENAMED = {
    "stop": "stop_sequences",
    "reasoning_effort": "output_config.effort",
    "response_format": "output_config.format",
    "response_format.json_schema": "output_config.format",
    "tool_choice.function": "tool_choice",
}


def chat_payload(payload: Mapping[str, Any], fields: CountFields, origins: Origins) -> dict[str, Any]:
    """The body of a chat request; where its parts came from is entered in `origins`."""
    for chat, own in RENAMED.items():
        origins.add(chat, own)
    return {
        **{name: payload[name] for name in SAME if payload.get(name) is not None},
        "messages": _messages(fields, origins),
        **_thinking(fields),
        **_format(fields),
        **_tools(fields, origins),
        **_answering(fields),
        **_continued(fields),
    }


def _messages(fields: CountFields, origins: Origins) -> list[dict[str, Any]]:
    system, talk = list(_texts(fields.system)), Conversation()
    for index, turn in enumerate(fields.messages):
        path = f"messages[{index}]"
        match turn:
            case SystemTurn():
                system += _texts(turn.content)
            case UserTurn() | AssistantTurn() if isinstance(turn.content, str):
                talk.last(turn.role, path)
                talk.text(turn.content, f"{path}.content")
            case UserTurn() if not turn.content:
                talk.last(turn.role, path)
            case UserTurn() | AssistantTurn():
                for number, block in enumerate(turn.content):
                    _add(block, turn.role, f"{path}.content[{number}]", talk)
    return talk.messages(system, origins)


def _texts(content: str | list[TextBlock] | None) -> list[str]:
    texts = [content] if isinstance(content, str) else [block.text for block in content or ()]
    return [text for text in texts if text and not text.startswith(BILLING)]


def _add(block: Any, role: str, path: str, talk: Conversation) -> None:
    """Turns of one role that follow one another are one message, as in Anthropic's API."""
    if isinstance(block, ToolResultBlock):
        talk.begin("tool", path, tool_call_id=block.tool_use_id)
        if isinstance(block.content, str):
            return talk.text(block.content, f"{path}.content")
        for index, inner in enumerate(block.content or ()):
            _say(inner, f"{path}.content[{index}]", talk)
    else:
        talk.last(role, path)
        _say(block, path, talk)


def _say(block: Any, path: str, talk: Conversation) -> None:
    match block:
        case TextBlock():
            talk.text(block.text, path)
        case ImageBlock():
            talk.image(block.source.address, f"{path}.source")
        case ThinkingBlock():
            talk.reasoning(block.thinking)
        case ToolUseBlock():
            talk.call(block.id, block.name, json.dumps(block.input, ensure_ascii=False), path, "input")


def _thinking(fields: CountFields) -> dict[str, Any]:
    effort = fields.output_config.effort if fields.output_config else None
    asked: dict[str, Any] = {} if effort is None else {"reasoning_effort": effort}
    if fields.thinking is not None and fields.thinking.type != "adaptive":
        asked["chat_template_kwargs"] = {"enable_thinking": fields.thinking.type == "enabled"}
    return asked


def _format(fields: CountFields) -> dict[str, Any]:
    asked = fields.output_config.format if fields.output_config else None
    if asked is None:
        return {}
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": asked.schema_}}
    }


def _tools(fields: CountFields, origins: Origins) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    if fields.tools:
        asked["tools"] = [_tool(tool, index, origins) for index, tool in enumerate(fields.tools)]
    match fields.tool_choice:
        case AutoChoice() if fields.tools:
            asked["tool_choice"] = "auto"
        case AnyChoice():
            asked["tool_choice"] = "required"
        case NamedChoice() as choice:
            asked["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
        case NoChoice():
            asked["tool_choice"] = "none"
    if fields.tools and getattr(fields.tool_choice, "disable_parallel_tool_use", None):
        asked["parallel_tool_calls"] = False
    return asked


def _tool(tool: CustomTool, index: int, origins: Origins) -> dict[str, Any]:
    origins.add(f"tools[{index}].function", f"tools[{index}]")
    origins.add(f"tools[{index}].function.parameters", f"tools[{index}].input_schema")
    members = {"description": tool.description, "strict": tool.strict}
    given = {name: value for name, value in members.items() if value is not None}
    return {"type": "function", "function": {"name": tool.name, "parameters": tool.input_schema, **given}}


def _answering(fields: CountFields) -> dict[str, Any]:
    """What only a request for an answer has."""
    if not isinstance(fields, MessagesFields):
        return {}
    stop = {"stop": list(fields.stop_sequences)} if fields.stop_sequences else {}
    # the first event of a stream tells the length of the prompt already
    usage = {"include_usage": True, "continuous_usage_stats": True}
    return stop | ({"stream_options": usage} if fields.stream else {})


def _continued(fields: CountFields) -> dict[str, Any]:
    """An answer whose beginning the client has written goes on where that ends."""
    last = fields.messages[-1]
    if not isinstance(last, AssistantTurn):
        return {}
    ends_with_text = isinstance(last.content, str) or (
        bool(last.content) and isinstance(last.content[-1], TextBlock)
    )
    return {"continue_final_message": True} if ends_with_text else {}

"""Fields that have a meaning only together with others, or not together with others."""

from __future__ import annotations

from service.api.chat.fields import ChatFields, NamedTool, StructuredOutputs, TextFormat
from service.api.sentences import describe
from service.errors import InvalidRequest

CONSTRAINTS = ("json", "regex", "choice", "grammar", "json_object", "structural_tag")


def check_companions(fields: ChatFields) -> None:
    """Raises InvalidRequest."""
    if fields.stream_options is not None and not fields.stream:
        raise _refused("stream_options", "stream_options requires stream to be true.")
    if fields.top_logprobs and not fields.logprobs:
        raise _refused("top_logprobs", "top_logprobs requires logprobs to be true.")
    if fields.continue_final_message and fields.add_generation_prompt:
        raise _refused(
            "continue_final_message",
            "continue_final_message continues the last message and add_generation_prompt begins a new one; only one "
            "of them can be true.",
        )
    _check_lengths(fields)
    _check_tool_choice(fields)
    if fields.structured_outputs is not None:
        _check_constraint(fields, fields.structured_outputs)


def _check_lengths(fields: ChatFields) -> None:
    for name in ("max_completion_tokens", "max_tokens"):
        most = getattr(fields, name)
        if most is None:
            continue
        if fields.min_tokens is not None and fields.min_tokens > most:
            raise _refused("min_tokens", f"min_tokens is {fields.min_tokens}, but {name} allows only {most}.")
        return  # the engine reads max_tokens only where max_completion_tokens is absent


def _check_tool_choice(fields: ChatFields) -> None:
    if fields.tool_choice in (None, "none"):
        return
    if not fields.tools:
        raise _refused("tool_choice", "tool_choice requires tools to choose from.")
    if isinstance(fields.tool_choice, NamedTool):
        asked, named = fields.tool_choice.function.name, [tool.function.name for tool in fields.tools]
        if asked not in named:
            raise _refused(
                "tool_choice.function.name",
                f"tool_choice.function.name: none of the tools is called {describe(asked)}.",
            )


def _check_constraint(fields: ChatFields, outputs: StructuredOutputs) -> None:
    path = "structured_outputs"
    given = [
        name for name in CONSTRAINTS if getattr(outputs, "json_" if name == "json" else name) is not None
    ]
    if len(given) != 1:
        raise _refused(
            path,
            f"{path} should have exactly one of {', '.join(CONSTRAINTS)}; received {' and '.join(given) or 'none'}.",
        )
    if fields.response_format is not None and not isinstance(fields.response_format, TextFormat):
        raise _refused(
            path, f"{path}: response_format already says what the answer should be; send one of the two."
        )
    if fields.tool_choice == "required" or isinstance(fields.tool_choice, NamedTool):
        raise _refused(path, f"{path}: tool_choice makes the answer a tool call; send one of the two.")


def _refused(path: str, sentence: str) -> InvalidRequest:
    return InvalidRequest(sentence, param=path)

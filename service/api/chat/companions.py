"""Fields of a conversation that have a meaning only together with others, or not together with others."""

from __future__ import annotations

from service.api.chat.fields import ChatFields, NamedTool
from service.api.sampling.companions import check_allowed, check_least, check_sampling, refused
from service.api.sentences import describe


def check_companions(fields: ChatFields) -> None:
    """Raises InvalidRequest."""
    check_sampling(fields)
    if fields.top_logprobs and not fields.logprobs:
        raise refused("top_logprobs", "top_logprobs requires logprobs to be true.")
    if fields.continue_final_message and fields.add_generation_prompt:
        raise refused(
            "continue_final_message",
            "continue_final_message continues the last message and add_generation_prompt begins a new one; only one "
            "of them can be true.",
        )
    check_allowed(fields, held=fields.forces_a_call)
    _check_lengths(fields)
    _check_tool_choice(fields)


def _check_lengths(fields: ChatFields) -> None:
    # the engine reads max_tokens only where max_completion_tokens is absent
    if fields.max_completion_tokens is not None:
        check_least(fields, "max_completion_tokens", fields.max_completion_tokens)
    elif fields.max_tokens is not None:
        check_least(fields, "max_tokens", fields.max_tokens)


def _check_tool_choice(fields: ChatFields) -> None:
    if fields.tool_choice in (None, "none"):
        return
    if not fields.tools:
        raise refused("tool_choice", "tool_choice requires tools to choose from.")
    if isinstance(fields.tool_choice, NamedTool):
        asked, named = fields.tool_choice.function.name, [tool.function.name for tool in fields.tools]
        if asked not in named:
            raise refused(
                "tool_choice.function.name",
                f"tool_choice.function.name: none of the tools is called {describe(asked)}.",
            )
    if fields.tool_choice != "auto" and fields.structured_outputs is not None:
        raise refused(
            "structured_outputs",
            "structured_outputs: tool_choice makes the answer a tool call; send one of the two.",
        )

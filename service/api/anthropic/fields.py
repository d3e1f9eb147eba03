"""The allow-lists of fields of `POST /v1/messages` and `POST /v1/messages/count_tokens`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Never

from pydantic import Field, Tag

from service.api.anthropic.blocks import TextContent, Turn
from service.api.sampling.fields import NonEmpty
from service.api.wire import First, Json, NotOffered, Others, Whole, Wire, by_value, tag

OWN_TOOLS_ONLY = (
    "tools that Anthropic defines are not offered, only those with an input_schema (type 'custom')"
)

REFUSED = {
    "compaction": "conversations are not summarised here; send a shorter one",
    "container": "no code is run here",
    "mcp_servers": "tools are run by the client here",
    "output_format": "use output_config.format",
    "max_completion_tokens": "use max_tokens",
    "response_format": "use output_config.format",
    "stop": "use stop_sequences",
    "thread": "nothing is stored here; send the whole conversation as messages (tool_runner(thread=False))",
}
HARMLESS: dict[str, tuple[Any, ...]] = {"mcp_servers": ([],)}
NO_EFFECT = frozenset(
    ("betas", "billing_policy", "cache_control", "context_management", "diagnostics", "fallback_credit_token")
).union(
    ("fallbacks", "inference_geo", "metadata", "service_tier", "speed", "user_profile_id", "workspace_id")
)
"""About Anthropic's own platform, and what it may leave out of a conversation: accepted, but not forwarded."""
ABOUT_THE_ANSWER = frozenset(
    {"max_tokens", "stop_sequences", "stream", "temperature", "top_k", "top_p"}
).union({"compaction"})
"""Without effect where tokens are only counted, so that the body of a request can be counted as it is."""


class CustomTool(Wire):
    ignored = frozenset(
        ("allowed_callers", "cache_control", "defer_loading", "eager_input_streaming", "input_examples")
    )

    type: Literal["custom"] | None = None
    name: NonEmpty
    description: str | None = None
    input_schema: Json
    strict: bool | None = None


class AutoChoice(Wire):
    type: Literal["auto"]
    disable_parallel_tool_use: bool | None = None


class AnyChoice(Wire):
    type: Literal["any"]
    disable_parallel_tool_use: bool | None = None


class NamedChoice(Wire):
    type: Literal["tool"]
    name: NonEmpty
    disable_parallel_tool_use: bool | None = None


class NoChoice(Wire):
    type: Literal["none"]


class ThinkingOptions(Wire):
    """`budget_tokens` is a target that no engine here follows; `max_tokens` bounds thinking and answer together."""

    ignored = frozenset({"block_binding", "budget_tokens", "display"})

    type: Literal["enabled", "adaptive", "disabled"]


class JsonFormat(Wire):
    type: Literal["json_schema"]
    schema_: Json = Field(alias="schema")


class OutputConfig(Wire):
    """A `task_budget` is for the model to know, and none here was taught to."""

    ignored = frozenset({"task_budget"})

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonFormat | None = None


CustomTools = Annotated[
    list[
        Annotated[
            Annotated[CustomTool, Tag(tag("custom"))] | Annotated[Never, NotOffered(OWN_TOOLS_ONLY), Others],
            by_value("type", "custom", default="custom", others="others"),
        ]
    ],
    First,
]
Choice = Annotated[
    Annotated[AutoChoice, Tag(tag("auto"))]
    | Annotated[AnyChoice, Tag(tag("any"))]
    | Annotated[NamedChoice, Tag(tag("tool"))]
    | Annotated[NoChoice, Tag(tag("none"))],
    by_value("type", "auto", "any", "tool", "none"),
]


class CountFields(Wire):
    """The body of `POST /v1/messages/count_tokens`."""

    refused = REFUSED
    harmless = HARMLESS
    ignored = NO_EFFECT | ABOUT_THE_ANSWER

    messages: Annotated[list[Turn], First, Field(min_length=1)]
    model: str | None = None
    system: TextContent | None = None
    tools: CustomTools | None = None
    tool_choice: Choice | None = None
    thinking: ThinkingOptions | None = None
    output_config: OutputConfig | None = None


class MessagesFields(CountFields):
    """The body of `POST /v1/messages`."""

    ignored = NO_EFFECT

    max_tokens: Annotated[int, Field(ge=1), Whole]
    stream: bool | None = None
    stop_sequences: Annotated[list[NonEmpty], First] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1), Whole] | None = None

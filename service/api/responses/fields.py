"""The allow-list of fields of `POST /v1/responses`: OpenAI's, and the sampling parameters that vLLM adds.

Nothing is stored, so what refers to stored things is refused, and so are tools that run at OpenAI.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Never

from pydantic import Field, Tag

from service.api.responses.items import Input
from service.api.sampling.fields import Bias, NonEmpty, Penalty, Repetition, Stop, TokenIds, TokenKey
from service.api.wire import First, Json, NotOffered, Others, Whole, Wire, by_shape, by_value, tag

SEND_ALL = "nothing is stored here; send the whole conversation as input"
NO_BACKGROUND = "an answer is given on the connection on which it was asked for; use stream"
ONLY_FUNCTIONS = "tools of OpenAI's own are not offered, only those of type 'function'"
ALLOWED_TOOLS = (
    ("allowed_tools", "send only those tools that may be called, and tool_choice auto or required"),
)
RESERVED = "it is reserved for Patchbay and its engine"

REFUSED = {
    **dict.fromkeys(("conversation", "previous_response_id"), SEND_ALL),
    **dict.fromkeys(("background", "background_options"), NO_BACKGROUND),
    "context_management": "nothing is left out of a conversation here; send a shorter input",
    "image": "input_image.detail sets the resolution at which an image is read",
    "moderation": "nothing is moderated here",
    "prompt": "no prompts are stored here; send instructions and input",
    "truncation": "nothing is left out of a conversation here; send a shorter input",
    "max_tokens": "use max_output_tokens",
    "messages": "use input",
    "response_format": "use text.format",
    "structured_outputs": "use text.format",
    "cache_salt": "caches are already separated by API key",
    "mm_processor_kwargs": "input_image.detail sets the resolution at which an image is read",
    **dict.fromkeys(("kv_transfer_params", "ec_transfer_params", "priority", "vllm_xargs"), RESERVED),
}
HARMLESS: dict[str, tuple[Any, ...]] = {
    "background": (False,),
    "context_management": ([],),
    "image": ({},),
    "priority": (0,),
    "truncation": ("disabled",),
}
NO_EFFECT = frozenset(
    ("access_programs", "max_tool_calls", "metadata", "personality", "prompt_cache_key")
).union(
    ("prompt_cache_options", "prompt_cache_retention", "safety_identifier", "service_tier", "store", "user")
)
"""About OpenAI's own platform, its tools and its storage: accepted, but not forwarded."""


class FunctionTool(Wire):
    ignored = frozenset({"allowed_callers", "async", "cache_control", "defer_loading", "output_schema"})

    type: Literal["function"]
    name: NonEmpty
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None


class FunctionChoice(Wire):
    type: Literal["function"]
    name: NonEmpty


class PlainFormat(Wire):
    type: Literal["text"]


class ObjectFormat(Wire):
    type: Literal["json_object"]


class SchemaFormat(Wire):
    type: Literal["json_schema"]
    name: str
    schema_: Json = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class TextOptions(Wire):
    ignored = frozenset({"verbosity"})

    format: (
        Annotated[
            Annotated[PlainFormat, Tag(tag("text"))]
            | Annotated[ObjectFormat, Tag(tag("json_object"))]
            | Annotated[SchemaFormat, Tag(tag("json_schema"))],
            by_value("type", "text", "json_object", "json_schema"),
        ]
        | None
    ) = None


class ReasoningOptions(Wire):
    """Reasoning is returned as the model wrote it, so that there is nothing to say about summaries."""

    ignored = frozenset({"context", "generate_summary", "mode", "summary"})

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None


class EventOptions(Wire):
    ignored = frozenset({"include_obfuscation"})


FunctionTools = Annotated[
    list[
        Annotated[
            Annotated[FunctionTool, Tag(tag("function"))]
            | Annotated[Never, NotOffered(ONLY_FUNCTIONS), Others],
            by_value("type", "function", others="others"),
        ]
    ],
    First,
]
ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag(tag("string"))]
    | Annotated[
        Annotated[
            Annotated[FunctionChoice, Tag(tag("function"))]
            | Annotated[Never, NotOffered(ONLY_FUNCTIONS, ALLOWED_TOOLS), Others],
            by_value("type", "function", others="others"),
        ],
        Tag(tag("object")),
    ],
    by_shape("string", "object"),
]


LOGPROBS = "message.output_text.logprobs"
Include = Literal[
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "message.input_image.image_url",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
]
"""Clients ask for all of it whatever the tools are. Of answers there are only log probabilities to be had here."""


class ResponsesFields(Wire):
    """The body of `POST /v1/responses`, and of `/v1/responses/input_tokens`."""

    refused = REFUSED
    harmless = HARMLESS
    ignored = NO_EFFECT

    input: Input
    model: str | None = None
    instructions: str | None = None
    stream: bool | None = None
    stream_options: EventOptions | None = None
    include: Annotated[list[Include], First] | None = None

    max_output_tokens: Annotated[int, Field(ge=1), Whole] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0), Whole] | None = None

    tools: FunctionTools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None

    top_k: Annotated[int, Field(ge=-1), Whole] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Repetition | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63), Whole] | None = None
    stop: Stop | None = None
    stop_token_ids: TokenIds | None = None
    logit_bias: Annotated[dict[TokenKey, Bias], Field(max_length=1024)] | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    include_stop_str_in_output: bool | None = None
    chat_template_kwargs: Json | None = None

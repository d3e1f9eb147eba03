"""The allow-list of request fields: OpenAI's, and those that vLLM adds. The ranges are those of vLLM 0.32.

Ranges are checked here, although vLLM checks them too, so that a bad request costs no work on its images. Left out on
purpose is whatever would let a request reach another tenant's cache, load code or tensors, truncate the prompt inside
an image, put hidden text into the template, or exhaust the engine's memory.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, Tag

from service.api.chat.messages import NO_TENSORS, Message
from service.api.wire import First, Json, Strings, Wire, by_shape, by_value, tag

USE_STRUCTURED = "vLLM no longer supports it; use response_format or structured_outputs"
OWN_TEMPLATE = "the checkpoint's own chat template is used"
USE_DETAIL = "image_url.detail sets the resolution at which an image is read"
ENGINE_FLAG = (
    "the engine reads it at its start only, from the operator's --structured-outputs-config; by default answers in "
    "JSON have no free white space"
)
ENGINE_ONLY = "it is reserved for Patchbay and its engine"

REFUSED = {
    **dict.fromkeys(("guided_json", "guided_regex", "guided_choice", "guided_grammar"), USE_STRUCTURED),
    **dict.fromkeys(("chat_template", "documents", "echo"), OWN_TEMPLATE),
    **dict.fromkeys(("image_embeds", "prompt_embeds"), NO_TENSORS),
    **dict.fromkeys(("mm_processor_kwargs", "media_io_kwargs"), USE_DETAIL),
    **dict.fromkeys(("kv_transfer_params", "ec_transfer_params", "vllm_xargs", "priority"), ENGINE_ONLY),
    "cache_salt": "caches are already separated by API key",
    "request_id": "send it as the header x-request-id",
    "functions": "use tools",
    "function_call": "use tool_choice",
    "prompt_logprobs": "it takes memory in proportion to prompt length times vocabulary size",
    "truncate_prompt_tokens": "it could cut an image in two",
}

NO_EFFECT = frozenset(
    {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "modalities"}
)
"""Fields about OpenAI's own platform: accepted, but not forwarded to the engine."""

TokenId = Annotated[int, Field(ge=0, lt=2**31)]
TokenIds = Annotated[list[TokenId], First, Field(max_length=1024)]
NonEmpty = Annotated[str, StringConstraints(min_length=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Bias = Annotated[float, Field(ge=-100, le=100)]
TokenKey = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,10}$")]


class StreamOptions(Wire):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None
    include_obfuscation: bool | None = None


class Function(Wire):
    name: NonEmpty
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None


class Tool(Wire):
    type: Literal["function"]
    function: Function


class FunctionName(Wire):
    name: NonEmpty


class NamedTool(Wire):
    type: Literal["function"]
    function: FunctionName


class JsonSchema(Wire):
    name: str
    description: str | None = None
    schema_: Json = Field(alias="schema")
    strict: bool | None = None


class TextFormat(Wire):
    type: Literal["text"]


class JsonObjectFormat(Wire):
    type: Literal["json_object"]


class JsonSchemaFormat(Wire):
    type: Literal["json_schema"]
    json_schema: JsonSchema


class StructuredOutputs(Wire):
    refused = dict.fromkeys(
        ("disable_any_whitespace", "whitespace_pattern", "disable_additional_properties"), ENGINE_FLAG
    )

    json_: (
        Annotated[
            Annotated[str, Tag(tag("string"))] | Annotated[Json, Tag(tag("object"))],
            by_shape("string", "object"),
        ]
        | None
    ) = Field(None, alias="json")
    regex: str | None = None
    choice: Annotated[Strings, Field(min_length=1)] | None = None
    grammar: str | None = None
    json_object: Literal[True] | None = None
    structural_tag: str | None = None


class TemplateOptions(Wire):
    refused = dict.fromkeys(("tokenize", "chat_template"), OWN_TEMPLATE)

    enable_thinking: bool | None = None


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag(tag("string"))]
    | Annotated[NamedTool, Tag(tag("object"))],
    by_shape("string", "object"),
]
ResponseFormat = Annotated[
    Annotated[TextFormat, Tag(tag("text"))]
    | Annotated[JsonObjectFormat, Tag(tag("json_object"))]
    | Annotated[JsonSchemaFormat, Tag(tag("json_schema"))],
    by_value("type", "text", "json_object", "json_schema"),
]
Stop = Annotated[
    Annotated[NonEmpty, Tag(tag("string"))] | Annotated[list[NonEmpty], First, Tag(tag("array"))],
    by_shape("string", "array"),
]


class ChatFields(Wire):
    """The body of `POST /v1/chat/completions`."""

    refused = REFUSED

    messages: Annotated[list[Message], First, Field(min_length=1)]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    n: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    min_tokens: Annotated[int, Field(ge=0)] | None = None
    stop: Stop | None = None
    stop_token_ids: TokenIds | None = None
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = None

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    logit_bias: Annotated[dict[TokenKey, Bias], Field(max_length=1024)] | None = None
    allowed_token_ids: TokenIds | None = None
    bad_words: Annotated[list[NonEmpty], First, Field(max_length=1024)] | None = None

    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0)] | None = None
    return_tokens_as_token_ids: bool | None = None
    return_token_ids: bool | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None

    tools: Annotated[list[Tool], First, Field(min_length=1)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None

    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    include_reasoning: bool | None = None
    thinking_token_budget: Annotated[int, Field(ge=-1)] | None = None
    chat_template_kwargs: TemplateOptions | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None

    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    modalities: list[Literal["text"]] | None = None

"""What chat requests and completions have in common: how an answer is drawn, what it is held to, what is refused.

The ranges are those of vLLM 0.32. They are checked here, although vLLM checks them too, so that a bad request costs no
work. Left out on purpose is whatever would let a request reach another tenant's cache, load code or tensors, truncate
the prompt inside an image, put hidden text into the template, or exhaust the engine's memory. A field is without effect
only where that leaves the answer's meaning as it was asked for; a field that asks for what cannot be had is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, Tag

from service.api.wire import First, Json, Strings, Whole, Wholes, Wire, by_shape, by_value, tag

NO_TENSORS = "tensors are not accepted in a request; send the image as image_url"
USE_DETAIL = "image_url.detail sets the resolution at which an image is read"
USE_STRUCTURED = "vLLM no longer supports it; use response_format or structured_outputs"
ENGINE_FLAG = (
    "the engine reads it at its start only, from the operator's --structured-outputs-config; by default answers in "
    "JSON have no free white space"
)
ENGINE_ONLY = "it is reserved for Patchbay and its engine"
NO_BEAMS = "beam search is not offered"

REFUSED: dict[str, str] = {
    **dict.fromkeys(("guided_json", "guided_regex", "guided_choice", "guided_grammar"), USE_STRUCTURED),
    **dict.fromkeys(("image_embeds", "prompt_embeds"), NO_TENSORS),
    **dict.fromkeys(("mm_processor_kwargs", "media_io_kwargs"), USE_DETAIL),
    **dict.fromkeys(("kv_transfer_params", "ec_transfer_params", "vllm_xargs", "priority"), ENGINE_ONLY),
    "cache_salt": "caches are already separated by API key",
    "request_id": "send it as the header x-request-id",
    **dict.fromkeys(("use_beam_search", "length_penalty"), NO_BEAMS),
    "best_of": "every answer that is drawn is returned; use n",
    "repetition_detection": "use repetition_penalty",
    "routed_experts_prompt_start": "routed experts are not returned",
    "watermarking": "it is the operator's to set",
    "prompt_logprobs": "it takes memory in proportion to prompt length times vocabulary size",
    "truncate_prompt_tokens": "it could cut an image in two",
}

HARMLESS: dict[str, tuple[Any, ...]] = {
    "use_beam_search": (False,),
    **dict.fromkeys(("best_of", "length_penalty"), (1,)),
    **dict.fromkeys(("media_io_kwargs", "mm_processor_kwargs", "vllm_xargs"), ({},)),
    **dict.fromkeys(("priority", "routed_experts_prompt_start"), (0,)),
    "truncate_prompt_tokens": (-1,),
}
"""The values with which refused fields ask for what happens anyway."""

OPENAI_PLATFORM = frozenset(("metadata", "modalities", "service_tier", "store", "user", "verbosity")).union(
    ("prediction", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier")
)
VLLM_ELSEWHERE = frozenset(("mm_payload", "return_mm_kwargs", "return_token_offsets")).union(
    ("session_id", "stream_interval", "truncation_side")
)
NO_EFFECT = OPENAI_PLATFORM | VLLM_ELSEWHERE
"""Fields about OpenAI's own platform, or about other routes and settings of vLLM's: accepted, but not forwarded."""

TokenId = Annotated[int, Field(ge=0, lt=2**31)]
TokenIds = Annotated[list[TokenId], First, Field(max_length=1024), Wholes]
NonEmpty = Annotated[str, StringConstraints(min_length=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Repetition = Annotated[float, Field(ge=0.001, le=1000)]
"""vLLM divides by it in single precision, in which 1e-300 is 0: then no token is the likeliest."""
Bias = Annotated[float, Field(ge=-100, le=100)]
TokenKey = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,10}$")]


class StreamOptions(Wire):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None
    include_obfuscation: bool | None = None


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


class SamplingFields(Wire):
    """The fields of every request that the model answers."""

    refused = REFUSED
    harmless = HARMLESS
    ignored = NO_EFFECT

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    n: Annotated[int, Field(ge=1), Whole] | None = None
    max_tokens: Annotated[int, Field(ge=1), Whole] | None = None
    min_tokens: Annotated[int, Field(ge=0), Whole] | None = None
    stop: Stop | None = None
    stop_token_ids: TokenIds | None = None
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = None

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1), Whole] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Repetition | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63), Whole] | None = None
    logit_bias: Annotated[dict[TokenKey, Bias], Field(max_length=1024)] | None = None
    allowed_token_ids: TokenIds | None = None
    bad_words: Annotated[list[NonEmpty], First, Field(max_length=1024)] | None = None

    return_tokens_as_token_ids: bool | None = None
    return_token_ids: bool | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    thinking_token_budget: Annotated[int, Field(ge=-1), Whole] | None = None

"""Chat messages and their content parts, as OpenAI defines them and vLLM 0.32 reads them.

Images are allowed in all messages but the assistant's; whether its template has a place for one in a system message is
the checkpoint's affair. Clients send answers back with what they have added to them, which is accepted without effect
and never forwarded. Whatever else vLLM's chat template would see (`uuid`, embeddings, other keys of a text part) is
refused.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Tag

from service.api.sampling.fields import NO_TENSORS, USE_DETAIL
from service.api.wire import First, Wire, by_shape, by_value, tag
from service.domain import Detail

USE_PARTS = "send each image as a part of type image_url"
ASSISTANT_ONLY = "only an assistant message has it"
MEDIA = {
    "uuid": "Patchbay identifies cached images by their content",
    "image_embeds": NO_TENSORS,
    "prompt_embeds": NO_TENSORS,
}

ADDED_ANYWHERE = frozenset({"cache_control", "extra_content", "provider_specific_fields"})
"""Members that LiteLLM, LangChain and agents add to messages, their parts, tools and tool calls."""
ADDED_TO_PARTS = ADDED_ANYWHERE.union(
    ("annotations", "citations", "extras", "id", "index", "prompt_cache_breakpoint")
)
ADDED_TO_MESSAGES = ADDED_ANYWHERE.union(
    ("annotations", "id", "parsed", "reasoning_details", "reasoning_items", "thinking_blocks")
)
"""Among them what OpenAI's own SDKs add to a parsed answer."""
OF_OTHER_ROLES = {
    **dict.fromkeys(
        ("audio", "function_call", "reasoning", "reasoning_content", "refusal", "tool_calls"), ASSISTANT_ONLY
    ),
    "images": USE_PARTS,
    "prefix": "send continue_final_message with the request",
    "tool_call_id": "only a tool message has it",
}
ASKING_FOR_NOTHING: dict[str, tuple[object, ...]] = {
    "images": ([],),
    "prefix": (False,),
    "tool_calls": ([],),
}


class TextPart(Wire):
    ignored = ADDED_TO_PARTS
    refused = MEDIA | {"image_url": "a text part cannot hold an image; send it as a part of type image_url"}

    type: Literal["text"]
    text: str


class ImageURL(Wire):
    ignored = frozenset({"format"})
    refused = MEDIA | dict.fromkeys(("min_pixels", "max_pixels"), USE_DETAIL)

    url: str
    detail: Literal["low", "high", "auto", "original"] | None = None


class ImagePart(Wire):
    ignored = ADDED_TO_PARTS
    refused = MEDIA | {
        **dict.fromkeys(("min_pixels", "max_pixels"), USE_DETAIL),
        "detail": "it belongs inside image_url",
        "text": "an image part has no text; send it as a part of type text",
    }

    type: Literal["image_url"]
    image_url: Annotated[
        Annotated[str, Tag(tag("string"))] | Annotated[ImageURL, Tag(tag("object"))],
        by_shape("string", "object"),
    ]

    @property
    def url(self) -> str:
        return self.image_url if isinstance(self.image_url, str) else self.image_url.url

    @property
    def url_path(self) -> str:
        """Where the URL stands in the part."""
        return "image_url" if isinstance(self.image_url, str) else "image_url.url"

    @property
    def detail(self) -> Detail:
        asked = None if isinstance(self.image_url, str) else self.image_url.detail
        return Detail.HIGH if asked == "original" else Detail(asked or "auto")


class RefusalPart(Wire):
    ignored = ADDED_TO_PARTS

    type: Literal["refusal"]
    refusal: str


Text = Annotated[TextPart, Tag(tag("text"))]
Image = Annotated[ImagePart, Tag(tag("image_url"))]
Refusal = Annotated[RefusalPart, Tag(tag("refusal"))]

VisualPart = Annotated[Text | Image, by_value("type", "text", "image_url")]
SpokenPart = Annotated[Text | Refusal, by_value("type", "text", "refusal")]

Plain = Annotated[str, Tag(tag("string"))]
StringOrParts = by_shape("string", "array")
VisualContent = Annotated[
    Plain | Annotated[list[VisualPart], First, Tag(tag("array"))],
    StringOrParts,
]
SpokenContent = Annotated[
    Plain | Annotated[list[SpokenPart], First, Tag(tag("array"))],
    StringOrParts,
]


class CalledFunction(Wire):
    ignored = ADDED_ANYWHERE | {"parsed_arguments"}

    name: str
    arguments: str


class ToolCall(Wire):
    ignored = ADDED_ANYWHERE | {"index"}

    id: str
    type: Literal["function"]
    function: CalledFunction


class _Message(Wire):
    ignored = ADDED_TO_MESSAGES
    refused = OF_OTHER_ROLES
    harmless = ASKING_FOR_NOTHING


class SystemMessage(_Message):
    role: Literal["system"]
    content: VisualContent
    name: str | None = None


class DeveloperMessage(_Message):
    role: Literal["developer"]
    content: VisualContent
    name: str | None = None


class UserMessage(_Message):
    role: Literal["user"]
    content: VisualContent
    name: str | None = None


class ToolMessage(_Message):
    ignored = ADDED_TO_MESSAGES | {"is_error"}

    role: Literal["tool"]
    content: VisualContent
    tool_call_id: str
    name: str | None = None


class AssistantMessage(_Message):
    """Accepts what a completion returned, null fields included, so that clients can send an answer back unchanged."""

    ignored = ADDED_TO_MESSAGES | {"images"}
    refused = OF_OTHER_ROLES | {
        "audio": "what was spoken is not kept here; send its transcript as content",
        "function_call": "use tool_calls",
    }

    role: Literal["assistant"]
    content: SpokenContent | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[ToolCall], First] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


Message = Annotated[
    Annotated[SystemMessage, Tag(tag("system"))]
    | Annotated[DeveloperMessage, Tag(tag("developer"))]
    | Annotated[UserMessage, Tag(tag("user"))]
    | Annotated[AssistantMessage, Tag(tag("assistant"))]
    | Annotated[ToolMessage, Tag(tag("tool"))],
    by_value("role", "system", "developer", "user", "assistant", "tool"),
]

"""Chat messages and their content parts, as OpenAI defines them and vLLM 0.32 reads them.

Images are allowed in user and tool messages; the other roles have text only, as in OpenAI's API. Whatever else vLLM's
chat template would see (`uuid`, embeddings, extra keys of a text part) is not listed and therefore refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Tag

from service.api.wire import First, Wire, by_shape, by_value, tag

NO_TENSORS = "tensors are not accepted in a request; send the image as image_url"
MEDIA = {
    "uuid": "Patchbay identifies cached images by their content",
    "image_embeds": NO_TENSORS,
    "prompt_embeds": NO_TENSORS,
}


class TextPart(Wire):
    refused = MEDIA | {
        "image_url": "a text part cannot hold an image; send it as a part of type image_url in a user or tool message"
    }

    type: Literal["text"]
    text: str


class ImageURL(Wire):
    refused = MEDIA

    url: str
    detail: Literal["low", "high", "auto"] | None = None


class ImagePart(Wire):
    refused = MEDIA | {"detail": "it belongs inside image_url"}

    type: Literal["image_url"]
    image_url: ImageURL


class RefusalPart(Wire):
    type: Literal["refusal"]
    refusal: str


Text = Annotated[TextPart, Tag(tag("text"))]
Image = Annotated[ImagePart, Tag(tag("image_url"))]
Refusal = Annotated[RefusalPart, Tag(tag("refusal"))]

VisualPart = Annotated[Text | Image, by_value("type", "text", "image_url")]
SpokenPart = Annotated[Text | Refusal, by_value("type", "text", "refusal")]

Plain = Annotated[str, Tag(tag("string"))]
StringOrParts = by_shape("string", "array")
TextContent = Annotated[
    Plain | Annotated[list[TextPart], First, Tag(tag("array"))],
    StringOrParts,
]
VisualContent = Annotated[
    Plain | Annotated[list[VisualPart], First, Tag(tag("array"))],
    StringOrParts,
]
SpokenContent = Annotated[
    Plain | Annotated[list[SpokenPart], First, Tag(tag("array"))],
    StringOrParts,
]


class CalledFunction(Wire):
    name: str
    arguments: str


class ToolCall(Wire):
    id: str
    type: Literal["function"]
    function: CalledFunction
    index: int | None = None


class SystemMessage(Wire):
    role: Literal["system"]
    content: TextContent
    name: str | None = None


class DeveloperMessage(Wire):
    role: Literal["developer"]
    content: TextContent
    name: str | None = None


class UserMessage(Wire):
    role: Literal["user"]
    content: VisualContent
    name: str | None = None


class ToolMessage(Wire):
    role: Literal["tool"]
    content: VisualContent
    tool_call_id: str
    name: str | None = None


class AssistantMessage(Wire):
    """Accepts what a completion returned, null fields included, so that clients can send an answer back unchanged."""

    role: Literal["assistant"]
    content: SpokenContent | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[ToolCall], First] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None


Message = Annotated[
    Annotated[SystemMessage, Tag(tag("system"))]
    | Annotated[DeveloperMessage, Tag(tag("developer"))]
    | Annotated[UserMessage, Tag(tag("user"))]
    | Annotated[AssistantMessage, Tag(tag("assistant"))]
    | Annotated[ToolMessage, Tag(tag("tool"))],
    by_value("role", "system", "developer", "user", "assistant", "tool"),
]

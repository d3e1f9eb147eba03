"""Messages and their content blocks, as Anthropic's clients send them and send answers back.

Images are allowed in user messages and in the results of tools. Blocks of documents, of citations and of tools that run
at Anthropic are refused by name.
"""

from __future__ import annotations

from typing import Annotated, Literal, Never

from pydantic import Tag

from service.api.wire import First, Json, NotOffered, Others, Wire, by_shape, by_value, tag

NO_FILES = "files are not stored here; send the image as base64 or as a URL"
DOCUMENT = (("document", "documents are not accepted; send text, or pages as images"),)
NO_EFFECT = frozenset({"cache_control", "citations"})


class TextBlock(Wire):
    ignored = NO_EFFECT | {"parsed_output"}

    type: Literal["text"]
    text: str


class Base64Source(Wire):
    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/jpg", "image/png", "image/gif", "image/webp"]
    data: str

    @property
    def address(self) -> str:
        return f"data:{self.media_type};base64,{self.data}"


class URLSource(Wire):
    type: Literal["url"]
    url: str

    @property
    def address(self) -> str:
        return self.url


class ImageBlock(Wire):
    ignored = NO_EFFECT | {"transformations"}

    type: Literal["image"]
    source: Annotated[
        Annotated[Base64Source, Tag(tag("base64"))]
        | Annotated[URLSource, Tag(tag("url"))]
        | Annotated[Never, NotOffered(NO_FILES), Others],
        by_value("type", "base64", "url", others="others"),
    ]


_Text = Annotated[TextBlock, Tag(tag("text"))]
_Image = Annotated[ImageBlock, Tag(tag("image"))]
_Plain = Annotated[str, Tag(tag("string"))]
_StringOrBlocks = by_shape("string", "array")
_ResultBlock = Annotated[
    _Text | _Image | Annotated[Never, NotOffered("only texts and images are accepted", DOCUMENT), Others],
    by_value("type", "text", "image", others="others"),
]


class ToolResultBlock(Wire):
    ignored = NO_EFFECT | {"is_error", "toolset_name"}

    type: Literal["tool_result"]
    tool_use_id: str
    content: (
        Annotated[_Plain | Annotated[list[_ResultBlock], First, Tag(tag("array"))], _StringOrBlocks] | None
    ) = None


class ToolUseBlock(Wire):
    ignored = NO_EFFECT | {"caller", "toolset_name"}

    type: Literal["tool_use"]
    id: str
    name: str
    input: Json


class ThinkingBlock(Wire):
    ignored = NO_EFFECT | {"signature"}

    type: Literal["thinking"]
    thinking: str


class RedactedThinkingBlock(Wire):
    """What was thought elsewhere, and cannot be read here."""

    ignored = NO_EFFECT | {"data"}

    type: Literal["redacted_thinking"]


_UserBlock = Annotated[
    _Text
    | _Image
    | Annotated[ToolResultBlock, Tag(tag("tool_result"))]
    | Annotated[
        Never, NotOffered("a user's blocks are of type text, image or tool_result", DOCUMENT), Others
    ],
    by_value("type", "text", "image", "tool_result", others="others"),
]
_AssistantBlock = Annotated[
    _Text
    | Annotated[ThinkingBlock, Tag(tag("thinking"))]
    | Annotated[RedactedThinkingBlock, Tag(tag("redacted_thinking"))]
    | Annotated[ToolUseBlock, Tag(tag("tool_use"))]
    | Annotated[
        Never,
        NotOffered("an assistant's blocks are of type text, thinking, redacted_thinking or tool_use"),
        Others,
    ],
    by_value("type", "text", "thinking", "redacted_thinking", "tool_use", others="others"),
]
_SystemBlock = Annotated[
    _Text | Annotated[Never, NotOffered("a system prompt is text; send images in a user message"), Others],
    by_value("type", "text", others="others"),
]
TextContent = Annotated[_Plain | Annotated[list[_SystemBlock], First, Tag(tag("array"))], _StringOrBlocks]


class UserTurn(Wire):
    role: Literal["user"]
    content: Annotated[_Plain | Annotated[list[_UserBlock], First, Tag(tag("array"))], _StringOrBlocks]


class AssistantTurn(Wire):
    """Accepts what an answer has, so that clients can send it back unchanged."""

    ignored = frozenset(
        ("container", "context_management", "diagnostics", "id", "input_transformations", "model", "type")
    ).union(("stop_details", "stop_reason", "stop_sequence", "usage"))

    role: Literal["assistant"]
    content: Annotated[_Plain | Annotated[list[_AssistantBlock], First, Tag(tag("array"))], _StringOrBlocks]


class SystemTurn(Wire):
    """A reminder among the messages; joins the system prompt."""

    role: Literal["system"]
    content: TextContent


Turn = Annotated[
    Annotated[UserTurn, Tag(tag("user"))]
    | Annotated[AssistantTurn, Tag(tag("assistant"))]
    | Annotated[SystemTurn, Tag(tag("system"))],
    by_value("role", "user", "assistant", "system"),
]

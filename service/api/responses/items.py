"""What a request to the Responses API may have as input: messages, calls of functions and their outputs, reasoning.

Messages of the model are accepted as the API returned them, and as clients shorten them. Items that OpenAI's own tools
leave behind, and references to what OpenAI has stored, are refused by name.
"""

from __future__ import annotations

from typing import Annotated, Literal, Never

from pydantic import Field, Tag

from service.api.wire import First, NotOffered, Others, Wire, by_shape, by_value, tag

NOT_STORED = "nothing is stored here; send the item itself"
NO_FILES = "files are not accepted; send images as input_image, with a data URL or an http(s) URL"
CLIENTS_OWN = frozenset({"cache_control", "prompt_cache_breakpoint"})
RETURNED = CLIENTS_OWN | {"async", "caller", "id", "namespace", "phase", "status"}
"""Members of items as the API returns them, of which the model sees nothing."""


class InputText(Wire):
    ignored = CLIENTS_OWN

    type: Literal["input_text"]
    text: str


class InputImage(Wire):
    ignored = CLIENTS_OWN
    refused = {"file_id": NO_FILES}

    type: Literal["input_image"]
    image_url: str
    detail: Literal["low", "high", "auto", "original"] | None = None


class OutputText(Wire):
    ignored = CLIENTS_OWN | {"annotations", "logprobs", "parsed"}

    type: Literal["output_text"]
    text: str


class OutputRefusal(Wire):
    ignored = CLIENTS_OWN

    type: Literal["refusal"]
    refusal: str


_Text = Annotated[InputText, Tag(tag("input_text"))]
_Image = Annotated[InputImage, Tag(tag("input_image"))]
_Others = Annotated[
    Never, NotOffered("only texts and images are accepted", (("input_file", NO_FILES),)), Others
]
_InputPart = Annotated[
    _Text | _Image | _Others, by_value("type", "input_text", "input_image", others="others")
]
_OutputPart = Annotated[
    Annotated[OutputText, Tag(tag("output_text"))] | Annotated[OutputRefusal, Tag(tag("refusal"))],
    by_value("type", "output_text", "refusal"),
]
_Plain = Annotated[str, Tag(tag("string"))]
_StringOrParts = by_shape("string", "array")
_Visual = Annotated[_Plain | Annotated[list[_InputPart], First, Tag(tag("array"))], _StringOrParts]
_SystemPart = Annotated[
    _Text
    | Annotated[Never, NotOffered("what the developer says is text; send images in a user message"), Others],
    by_value("type", "input_text", others="others"),
]
_Textual = Annotated[_Plain | Annotated[list[_SystemPart], First, Tag(tag("array"))], _StringOrParts]
_Spoken = Annotated[_Plain | Annotated[list[_OutputPart], First, Tag(tag("array"))], _StringOrParts]


class _Message(Wire):
    ignored = RETURNED

    type: Literal["message"] | None = None


class InputUserMessage(_Message):
    role: Literal["user"]
    content: _Visual


class InputSystemMessage(_Message):
    """Of the developer, by its older or its newer name."""

    role: Literal["system", "developer"]
    content: _Textual


class OutputMessage(_Message):
    role: Literal["assistant"]
    content: _Spoken


class FunctionCall(Wire):
    ignored = RETURNED | {"parsed_arguments"}

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str


class FunctionCallOutput(Wire):
    ignored = RETURNED | {"name"}

    type: Literal["function_call_output"]
    call_id: str
    output: _Visual


class SummaryText(Wire):
    type: Literal["summary_text"]
    text: str


class ReasoningText(Wire):
    type: Literal["reasoning_text"]
    text: str


class ReasoningItem(Wire):
    """What the model thought. What is encrypted was thought elsewhere, and cannot be read here."""

    ignored = RETURNED | {"encrypted_content"}

    type: Literal["reasoning"]
    summary: Annotated[list[SummaryText], First] | None = None
    content: Annotated[list[ReasoningText], First] | None = None

    @property
    def text(self) -> str:
        return "\n".join(part.text for part in self.content or self.summary or ())


Message = Annotated[
    Annotated[InputUserMessage, Tag(tag("user"))]
    | Annotated[InputSystemMessage, Tag(tag("system"))]
    | Annotated[InputSystemMessage, Tag(tag("developer"))]
    | Annotated[OutputMessage, Tag(tag("assistant"))],
    by_value("role", "user", "system", "developer", "assistant"),
]
Item = Annotated[
    Annotated[Message, Tag(tag("message"))]
    | Annotated[FunctionCall, Tag(tag("function_call"))]
    | Annotated[FunctionCallOutput, Tag(tag("function_call_output"))]
    | Annotated[ReasoningItem, Tag(tag("reasoning"))]
    | Annotated[
        Never,
        NotOffered(
            "only messages, calls of functions, their outputs and reasoning are accepted",
            (("item_reference", NOT_STORED),),
        ),
        Others,
    ],
    by_value(
        "type",
        *("message", "function_call", "function_call_output", "reasoning"),
        default="message",
        others="others",
    ),
]
Input = Annotated[
    _Plain | Annotated[list[Item], First, Field(min_length=1), Tag(tag("array"))], _StringOrParts
]

"""The allow-list of a chat request's fields: OpenAI's, and those that vLLM adds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag

from service.api.chat.messages import ADDED_ANYWHERE, Message
from service.api.sampling import fields as sampling
from service.api.sampling.fields import NonEmpty, SamplingFields
from service.api.wire import First, Json, Whole, Wire, by_shape, tag

OWN_TEMPLATE = "the checkpoint's own chat template is used"

REFUSED = sampling.REFUSED | {
    **dict.fromkeys(("chat_template", "documents", "echo"), OWN_TEMPLATE),
    "add_special_tokens": "the chat template writes them",
    "audio": "answers are text",
    "functions": "use tools",
    "function_call": "use tool_choice",
    "logprob_token_ids": "use top_logprobs",
    "moderation": "nothing is moderated here",
    "return_prompt_text": "return_token_ids returns the tokens of the prompt",
    "web_search_options": "the model cannot search the web",
}

HARMLESS = sampling.HARMLESS | {
    **dict.fromkeys(("add_special_tokens", "echo", "return_prompt_text"), (False,)),
    **dict.fromkeys(("documents", "functions"), ([],)),
    "function_call": ("none", "auto"),
}
"""The values with which refused fields ask for what happens anyway."""


class Function(Wire):
    ignored = ADDED_ANYWHERE

    name: NonEmpty
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None


class Tool(Wire):
    ignored = ADDED_ANYWHERE

    type: Literal["function"]
    function: Function


class FunctionName(Wire):
    name: NonEmpty


class NamedTool(Wire):
    type: Literal["function"]
    function: FunctionName


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag(tag("string"))]
    | Annotated[NamedTool, Tag(tag("object"))],
    by_shape("string", "object"),
]


class ChatFields(SamplingFields):
    """The body of `POST /v1/chat/completions`."""

    refused = REFUSED
    harmless = HARMLESS

    messages: Annotated[list[Message], First, Field(min_length=1)]

    max_completion_tokens: Annotated[int, Field(ge=1), Whole] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0), Whole] | None = None

    tools: Annotated[list[Tool], First, Field(min_length=1)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None

    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    include_reasoning: bool | None = None
    chat_template_kwargs: Json | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None

    modalities: list[Literal["text"]] | None = None

    @property
    def forces_a_call(self) -> bool:
        """Whether the answer must be a call of one of the tools."""
        return self.tool_choice == "required" or isinstance(self.tool_choice, NamedTool)

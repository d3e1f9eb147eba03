"""The allow-list of a completion's fields: OpenAI's, and those that vLLM adds."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from service.api.sampling import fields as sampling
from service.api.sampling.fields import NonEmpty, SamplingFields, TokenId
from service.api.wire import First, Whole, Wholes, tag

ONLY_IN_CHAT = "a completion goes on with a text; send conversations to /v1/chat/completions"
OF_CONVERSATIONS = frozenset(("modalities", "prediction", "verbosity"))

REFUSED = sampling.REFUSED | {
    **dict.fromkeys(("messages", "tools", "tool_choice", "chat_template_kwargs"), ONLY_IN_CHAT),
    "echo": "only what the model writes is returned; the prompt is known to whoever sent it",
    "logprob_token_ids": "use logprobs",
    "max_completion_tokens": "use max_tokens",
    "suffix": "the model goes on with a prompt, and cannot write towards a text that follows",
    "top_logprobs": "logprobs is itself the number of alternatives",
}

HARMLESS = sampling.HARMLESS | {"echo": (False,), "suffix": ("",), "tools": ([],)}
"""The values with which refused fields ask for what happens anyway."""

NO_EFFECT = sampling.NO_EFFECT - OF_CONVERSATIONS


def _kind(prompt: Any) -> str | None:
    if isinstance(prompt, str):
        return tag("string")
    if not isinstance(prompt, list):
        return None
    first = prompt[0] if prompt else ""
    if isinstance(first, list):
        return tag("token arrays")
    return tag("tokens" if isinstance(first, (int, float)) else "strings")


Tokens = Annotated[list[TokenId], First, Wholes, Field(min_length=1)]
Prompt = Annotated[
    Annotated[NonEmpty, Tag(tag("string"))]
    | Annotated[list[NonEmpty], First, Field(min_length=1), Tag(tag("strings"))]
    | Annotated[Tokens, Tag(tag("tokens"))]
    | Annotated[list[Tokens], First, Tag(tag("token arrays"))],
    Discriminator(
        _kind,
        custom_error_type="wrong_shape",
        custom_error_message="input should be a string, an array of strings, an array of tokens or an array of these",
    ),
]


class CompletionFields(SamplingFields):
    """The body of `POST /v1/completions`."""

    refused = REFUSED
    harmless = HARMLESS
    ignored = NO_EFFECT

    prompt: Prompt
    logprobs: Annotated[int, Field(ge=0), Whole] | None = None
    add_special_tokens: bool | None = None

    @property
    def prompts(self) -> int:
        """How many there are."""
        several = isinstance(self.prompt, list) and not isinstance(self.prompt[0], int)
        return len(self.prompt) if several else 1

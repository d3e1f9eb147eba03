"""The bodies of vLLM's routes /tokenize and /detokenize, as far as they are not conversations."""

from __future__ import annotations

from typing import Annotated

from service.api.chat.fields import OWN_TEMPLATE
from service.api.sampling.fields import TokenId
from service.api.wire import First, Wholes, Wire

ONLY_WITH_MESSAGES = "it belongs to messages, and a prompt is taken as it is"
OF_CONVERSATIONS = ("tools", "chat_template_kwargs", "add_generation_prompt", "continue_final_message")


class PromptFields(Wire):
    """A text that is tokenized as it is. With `messages` in place of `prompt`, the body is that of a chat request."""

    refused = {
        **dict.fromkeys(OF_CONVERSATIONS, ONLY_WITH_MESSAGES),
        "chat_template": OWN_TEMPLATE,
        **dict.fromkeys(("media_io_kwargs", "mm_processor_kwargs"), "a prompt has no images; send messages"),
    }
    harmless = {
        "tools": ([],),
        **dict.fromkeys(("chat_template_kwargs", "media_io_kwargs", "mm_processor_kwargs"), ({},)),
        **dict.fromkeys(("add_generation_prompt", "continue_final_message"), (False,)),
    }

    prompt: str
    model: str | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None


class TokensFields(Wire):
    """The body of `POST /detokenize`."""

    tokens: Annotated[list[TokenId], First, Wholes]
    model: str | None = None

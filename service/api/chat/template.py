"""`chat_template_kwargs`: variables of the checkpoint's own chat template that a request may set."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from service.api.chat.fields import OWN_TEMPLATE
from service.api.sampling.caps import check_cap
from service.api.sentences import child, describe
from service.errors import InvalidRequest

FIELD = "chat_template_kwargs"
MAX_BYTES = 16 * 1024
A_FIELD = "send it as a field of the request"
OF_JINJA = "templates are written with it"
WHOLE = "the prompt is tokenized as a whole"
RESERVED = {
    **dict.fromkeys(("chat_template", "documents", "tokenize"), OWN_TEMPLATE),
    **dict.fromkeys(("conversation", "messages"), "send messages"),
    **dict.fromkeys(("add_generation_prompt", "continue_final_message", "tools"), A_FIELD),
    **dict.fromkeys(("max_length", "padding", "return_tensors", "return_dict", "truncation"), WHOLE),
    **dict.fromkeys(("processor_kwargs", "return_assistant_tokens_mask", "tokenizer_kwargs"), WHOLE),
    **dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), "it is the tokenizer's"),
    **dict.fromkeys(("cycler", "dict", "joiner", "lipsum", "loop", "namespace", "range"), OF_JINJA),
    **dict.fromkeys(("raise_exception", "strftime_now"), OF_JINJA),
}
"""Names that transformers or vLLM would not take for a variable of the template."""
SWITCHES = frozenset({"enable_thinking", "thinking"})
"""Clients send these to every model; a template that does not know them does what it always does."""


def check_template(values: Mapping[str, Any] | None, known: Collection[str] | None) -> None:
    """`known` are the words of the template, None where only the engine has it. Raises InvalidRequest."""
    for name, value in (values or {}).items():
        path = child(FIELD, name)
        if name in RESERVED:
            raise InvalidRequest(f"{path} is not accepted: {RESERVED[name]}.", param=path)
        if name in SWITCHES:
            if not isinstance(value, bool | None):
                raise InvalidRequest(
                    f"{path}: input should be a valid boolean; received {describe(value)}.", param=path
                )
        elif known is not None and name not in known:
            raise InvalidRequest(
                f"{path} is not accepted: the checkpoint's chat template has no variable of this name.",
                param=path,
            )
    check_cap(FIELD, len(json.dumps(values)), MAX_BYTES, "bytes of JSON")


def words_of(template: str) -> frozenset[str]:
    """All that may be a variable's name in a chat template."""
    return frozenset(re.findall(r"[A-Za-z_]\w*", template))

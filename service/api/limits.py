"""How large a request may be. The limits on the pixels of images are elsewhere: `service.ingest.probe`."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.api.constraints.budget import ConstraintLimits

MIB = 1024**2
BYTES_PER_TOKEN = 16
"""Of the context, in a request that is only tokenized: three or four times as many as a text of that length has."""
LEAST_TOKENIZED = 64 * 1024
"""Bytes that may be tokenized however short the context is."""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    max_body_bytes: int = 50 * MIB
    body_timeout: float = 30.0
    """Seconds from the first read of the body to its last byte."""
    request_timeout: float = 600.0
    """Seconds from the last byte of the body to the last byte of the answer that the client has read."""
    max_json_depth: int = 64
    max_json_values: int = 250_000
    """Limits the memory that parsing takes; counted before parsing, as commas and opening brackets."""
    max_messages: int = 1024
    max_parts: int = 8192
    """Content parts and calls of tools of all messages together, and tools: each is an object to check, here and in the
    engine, which takes thousands of times as long as a text of as many bytes."""
    max_images: int = 8
    model_images: int | None = None
    """Images in a request that the model takes; None: any number."""
    max_choices: int = 8
    """`n`."""
    max_output_tokens: int = 1_000_000
    """`max_tokens`; the engine limits it further to the model's context."""
    max_stop: int = 16
    max_top_logprobs: int = 20
    max_tokenized_bytes: int = 4 * MIB
    """Of a request that is only tokenized, without its images, whatever the context: about a million tokens."""
    max_schema_bytes: int = 256 * 1024
    """Each of `tools`, `response_format` and `structured_outputs`, which the engine compiles to a grammar."""
    constraints: ConstraintLimits = field(default_factory=ConstraintLimits)
    context: int | None = None
    """Tokens that the model can hold, prompt and answer together; a larger bound on the answer is lowered to it."""
    template_words: frozenset[str] | None = None
    """All that may be a variable of the checkpoint's chat template; None where only the engine has it."""
    xgrammar: bool = True
    """Whether the engine compiles schemas with xgrammar, which it does unless the operator chose another backend."""

    @property
    def tokenized_bytes(self) -> int:
        """Bytes of a request that is only tokenized, without its images.

        In proportion to the context, as vLLM bounds prompts that it answers: its one tokenizer thread works on the
        prompts of all callers, in the order of their arrival.
        """
        if self.context is None:
            return self.max_tokenized_bytes
        return min(self.max_tokenized_bytes, max(LEAST_TOKENIZED, BYTES_PER_TOKEN * self.context))

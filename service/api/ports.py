"""What the HTTP layer needs from the layers below, as protocols: a chat service, models, readiness, permits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from service.domain import Caller, ChatRequest, ImageUsage, TokenCount


class ChatReply(Protocol):
    """An answer that has begun successfully, with its body still to be read; closing it aborts the generation."""

    @property
    def content_type(self) -> str: ...

    @property
    def images(self) -> Sequence[ImageUsage]:
        """In the order of `ChatRequest.images`; empty if the engine's own tower encodes them."""
        ...

    def body(self) -> AsyncIterator[bytes]:
        """The engine's bytes as they arrive: one JSON object, or server-sent events split at any byte."""
        ...

    async def failed(self) -> None:
        """To be called when the body turns out to be broken. Raises EngineUnavailable if the engine has died."""
        ...

    async def aclose(self) -> None: ...


class ChatService(Protocol):
    async def chat(self, request: ChatRequest, headers: Mapping[str, str]) -> ChatReply:
        """Sends the request to the engine and returns once the answer has begun; raises PatchbayError otherwise.

        `headers` (request id, trace context) are forwarded to the engine. Cancelling ends all work for the request.
        """
        ...


class TokenService(Protocol):
    async def count(self, request: ChatRequest, headers: Mapping[str, str]) -> TokenCount:
        """How long the prompt of a chat request is, by the sizes of its images. Raises PatchbayError like `chat`."""
        ...

    async def ask(self, request: ChatRequest, headers: Mapping[str, str]) -> Mapping[str, Any]:
        """The engine's own answer to a request of its routes /tokenize and /detokenize."""
        ...


class ModelCatalog(Protocol):
    def names(self) -> Sequence[str]:
        """The names that requests may use, the default first; empty as long as they are not known."""
        ...

    async def cards(self) -> Sequence[Mapping[str, Any]]:
        """OpenAI model objects, with vLLM's `max_model_len`. Raises EngineUnavailable."""
        ...


class Readiness(Protocol):
    def reasons(self) -> Mapping[str, str]:
        """Component → why it cannot serve yet, in words; empty once everything is ready."""
        ...


class EngineMetrics(Protocol):
    async def engine_metrics(self) -> tuple[bytes, str]:
        """The engine's own metrics as it writes them, and their content type. Raises EngineUnavailable."""
        ...


class Visit(Protocol):
    """One request from the first byte of its body to the last of its answer."""

    @property
    def rank(self) -> int:
        """Its place in every queue, once it has entered."""
        ...

    def enter(self) -> None:
        """The body has arrived: takes a request's place. Raises Busy."""
        ...


class RequestPermits(Protocol):
    def visit(self, caller: Caller) -> AbstractContextManager[Visit]:
        """For as long as a request takes. Raises Busy at once when it could not enter, or its body not be taken."""
        ...


@dataclass(frozen=True, slots=True)
class Backend:
    """Everything that the HTTP layer serves."""

    chat: ChatService
    tokens: TokenService
    models: ModelCatalog
    readiness: Readiness
    permits: RequestPermits
    engine_metrics: EngineMetrics | None = None
    """None: there is no page `/metrics/engine`."""

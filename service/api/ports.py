"""What the HTTP floor asks of the floors below, as protocols: a chat service, the models, readiness, permits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from service.domain import ChatRequest, ImageUsage


class ChatReply(Protocol):
    """An answer that has begun well, its body still to be read; closing it aborts the generation."""

    @property
    def content_type(self) -> str: ...

    @property
    def images(self) -> Sequence[ImageUsage]:
        """In the order of `ChatRequest.images`; empty where the engine's own tower encodes."""
        ...

    def body(self) -> AsyncIterator[bytes]:
        """The engine's bytes as they come: one JSON object, or server-sent events cut anywhere."""
        ...

    async def aclose(self) -> None: ...


class ChatService(Protocol):
    async def chat(self, request: ChatRequest, headers: Mapping[str, str]) -> ChatReply:
        """Asks the engine and returns once it is known that it answers; raises PatchbayError otherwise.

        `headers` (request id, trace context) are to be handed on to the engine. Cancelling ends all work for the
        request.
        """
        ...


class ModelCatalog(Protocol):
    def names(self) -> Sequence[str]:
        """Names that requests may ask for, the default first; empty while they are not known yet."""
        ...

    async def cards(self) -> Sequence[Mapping[str, Any]]:
        """OpenAI model objects, with vLLM's `max_model_len`. Raises EngineUnavailable."""
        ...


class Readiness(Protocol):
    def reasons(self) -> Mapping[str, str]:
        """Component → why it cannot serve yet, in words; empty when everything is ready."""
        ...


class EngineMetrics(Protocol):
    async def engine_metrics(self) -> tuple[bytes, str]:
        """The engine's own metrics as it writes them, and their content type. Raises EngineUnavailable."""
        ...


class RequestPermits(Protocol):
    def request(self) -> AbstractAsyncContextManager[None]:
        """One request's place, held from before its body is read until its answer has ended. Raises Busy."""
        ...


@dataclass(frozen=True, slots=True)
class Backend:
    """Everything that the HTTP floor serves."""

    chat: ChatService
    models: ModelCatalog
    readiness: Readiness
    permits: RequestPermits
    engine_metrics: EngineMetrics | None = None
    """None: there is no page `/metrics/engine`."""

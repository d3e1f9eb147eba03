"""A dialect is the form in which an API writes requests and answers. The pipeline knows one form, OpenAI's chat
completions: a dialect translates its requests into it, and the engine's answers back, whole or as they stream.

Translation has no state of its own: everything that an answer needs of its request is in its `Question`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from service.api.completion import Completion, Event
from service.api.limits import RequestLimits
from service.domain import Caller, ChatRequest, Record
from service.errors import PatchbayError


class Writer(Protocol):
    """Writes one streamed answer as server-sent events."""

    def write(self, events: Sequence[Event]) -> bytes:
        """What the client gets for these events of the engine, `[DONE]` not among them; may be nothing.

        Raises EngineFailed for events that cannot be read.
        """
        ...

    def end(self, record: Record | None) -> bytes:
        """The end of a complete answer. `record`: what the request cost, if the client asked for it."""
        ...

    def failed(self, error: PatchbayError) -> bytes:
        """The event with which an answer breaks off."""
        ...


class Question(Protocol):
    """One request as it was read, and the way back for its answer."""

    @property
    def request(self) -> ChatRequest: ...

    def own(self, error: PatchbayError) -> PatchbayError:
        """`error`, about the field that the client wrote and not about the one that it was translated to."""
        ...

    def whole(self, completion: Completion, record: Record | None) -> bytes:
        """The body of an answer in one piece. Raises EngineFailed when the completion cannot be read."""
        ...

    def writer(self) -> Writer: ...


class Dialect(Protocol):
    def read(
        self, body: bytes, limits: RequestLimits, *, models: Sequence[str], request_id: str, caller: Caller
    ) -> Question:
        """Raises InvalidRequest, TooManyImages, ModelNotFound."""
        ...

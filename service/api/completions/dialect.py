"""Completions, which the engine speaks too: what it answers passes as it is."""

from __future__ import annotations

from collections.abc import Sequence

from service.api.chat.dialect import ChatQuestion
from service.api.completions.schema import parse_completion
from service.api.limits import RequestLimits
from service.domain import Caller


class TextCompletions:
    """Implements `api.dialect.Dialect`."""

    def read(
        self, body: bytes, limits: RequestLimits, *, models: Sequence[str], request_id: str, caller: Caller
    ) -> ChatQuestion:
        request = parse_completion(body, limits, models=models, request_id=request_id, caller=caller)
        return ChatQuestion(request)

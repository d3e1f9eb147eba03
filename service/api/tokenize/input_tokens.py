"""How many tokens the prompt of a request in a dialect would be, its images by their sizes: for those of the APIs that
have a route for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from starlette.responses import JSONResponse, Response

from service.api.admitted import Admitted
from service.api.exchange import Exchange
from service.api.limits import RequestLimits
from service.api.tokenize.route import Tokenization, check_text
from service.api.translation.origins import Origins
from service.domain import Caller, ChatRequest
from service.errors import PatchbayError


class Reader(Protocol):
    """Reads a body as a chat request, and where its parts came from."""

    def __call__(
        self, body: bytes, limits: RequestLimits, *, models: Sequence[str], request_id: str, caller: Caller
    ) -> tuple[ChatRequest, Origins]: ...


@dataclass(frozen=True, slots=True)
class Counted:
    request: ChatRequest
    origins: Origins


class InputTokensResponse(Admitted[Counted]):
    """The member `input_tokens`, and what else the API's answer says of itself."""

    def __init__(self, tokenization: Tokenization, read: Reader, about: Mapping[str, str]) -> None:
        super().__init__(tokenization.permits, tokenization.limits, tokenization.metrics)
        self._tokenization = tokenization
        self._read = read
        self._about = about

    def read(self, body: bytes, exchange: Exchange) -> Counted:
        limits, models = self._tokenization.limits, self._tokenization.models.names()
        request, origins = self._read(
            body, limits, models=models, request_id=exchange.request_id, caller=exchange.caller
        )
        check_text(body, request, limits)
        return Counted(replace(request, stream=False), origins)

    async def whole(self, read: Counted, request: ChatRequest, exchange: Exchange) -> Response:
        try:
            count = await self._tokenization.service.count(request, exchange.engine_headers)
        except PatchbayError as error:
            raise read.origins.rename(error) from error
        return JSONResponse({**self._about, "input_tokens": count.prompt_tokens})

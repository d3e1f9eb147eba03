"""`POST /v1/messages/count_tokens`: how long the prompt of a request would be, its images by their sizes."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import JSONResponse, Response

from service.api.admitted import Admitted
from service.api.anthropic.dialect import read_messages
from service.api.anthropic.fields import CountFields
from service.api.exchange import Exchange
from service.api.tokenize.route import Tokenization, check_text
from service.api.translation.origins import Origins
from service.domain import ChatRequest
from service.errors import PatchbayError


@dataclass(frozen=True, slots=True)
class Counted:
    request: ChatRequest
    origins: Origins


class CountTokensResponse(Admitted[Counted]):
    def __init__(self, tokenization: Tokenization) -> None:
        super().__init__(tokenization.permits, tokenization.limits, tokenization.metrics)
        self._tokenization = tokenization

    def read(self, body: bytes, exchange: Exchange) -> Counted:
        limits = self._tokenization.limits
        request, origins = read_messages(
            body,
            limits,
            CountFields,
            models=self._tokenization.models.names(),
            request_id=exchange.request_id,
            caller=exchange.caller,
        )
        check_text(body, request, limits)
        return Counted(request, origins)

    async def whole(self, read: Counted, request: ChatRequest, exchange: Exchange) -> Response:
        try:
            count = await self._tokenization.service.count(request, exchange.engine_headers)
        except PatchbayError as error:
            raise read.origins.rename(error) from error
        return JSONResponse({"input_tokens": count.prompt_tokens})

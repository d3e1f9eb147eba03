"""`POST /v1/tokenize`, `/tokenize` and `/detokenize`: requests whose prompt is looked at and not answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import JSONResponse, Response

from service.api.admitted import Admitted
from service.api.chat.schema import parse_chat
from service.api.constraints.explained import explained
from service.api.exchange import Exchange
from service.api.limits import RequestLimits
from service.api.ports import ModelCatalog, RequestPermits, TokenService
from service.api.tokenize.report import report
from service.api.tokenize.schema import parse_detokenize, parse_tokenize
from service.domain import ChatRequest
from service.errors import EngineRejected, InvalidRequest
from service.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Tokenization:
    """Everything needed to tokenize requests."""

    service: TokenService
    permits: RequestPermits
    models: ModelCatalog
    limits: RequestLimits
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Asked:
    request: ChatRequest


Parse = Callable[..., ChatRequest]


class TokenResponse(Admitted[Asked]):
    """vLLM's own answer."""

    def __init__(self, tokenization: Tokenization, parse: Parse) -> None:
        super().__init__(tokenization.permits, tokenization.limits, tokenization.metrics)
        self._tokenization = tokenization
        self._parse = parse

    def read(self, body: bytes, exchange: Exchange) -> Asked:
        limits, models = self._tokenization.limits, self._tokenization.models.names()
        request = self._parse(
            body, limits, models=models, request_id=exchange.request_id, caller=exchange.caller
        )
        check_text(body, request, limits)
        return Asked(replace(request, stream=False))

    async def whole(self, read: Asked, request: ChatRequest, exchange: Exchange) -> Response:
        try:
            return JSONResponse(await self.told(request, exchange.engine_headers))
        except EngineRejected as error:
            raise explained(error, request.payload) from error

    async def told(self, request: ChatRequest, headers: Mapping[str, str]) -> Mapping[str, Any]:
        return await self._tokenization.service.ask(request, headers)


class CountResponse(TokenResponse):
    """How long the prompt of a chat request is, and what its images have to do with it."""

    async def told(self, request: ChatRequest, headers: Mapping[str, str]) -> Mapping[str, Any]:
        return report(request, await self._tokenization.service.count(request, headers))


def counted(tokenization: Tokenization) -> Response:
    return CountResponse(tokenization, parse_chat)


def tokenized(tokenization: Tokenization) -> Response:
    return TokenResponse(tokenization, parse_tokenize)


def detokenized(tokenization: Tokenization) -> Response:
    return TokenResponse(tokenization, parse_detokenize)


def check_text(body: bytes, request: ChatRequest, limits: RequestLimits) -> None:
    """Raises InvalidRequest: what the engine tokenizes for an answer it bounds by the context, but not this."""
    size = len(body) - sum(len(image.url) for image in request.images)
    if size > limits.tokenized_bytes:
        raise InvalidRequest(
            f"The body has {size} bytes beside its images; at most {limits.tokenized_bytes} are tokenized at once."
        )

"""The HTTP application, from plain values and the protocols of `ports`. Starts nothing and owns nothing."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Lifespan

from service.api.auth import ApiKeys
from service.api.chat import Chat
from service.api.errors import error_response, explain, http_error_response
from service.api.exchange import exchange_of
from service.api.limits import RequestLimits
from service.api.middleware import Exchanges
from service.api.ports import ChatService, ModelCatalog, Readiness, RequestPermits
from service.api.routes import openai_routes, operator_routes
from service.errors import InvalidRequest, PatchbayError
from service.metrics import Metrics


def build_api(
    service: ChatService,
    *,
    models: ModelCatalog,
    readiness: Readiness,
    permits: RequestPermits,
    metrics: Metrics,
    limits: RequestLimits,
    api_keys: Sequence[str] = (),
    keepalive_seconds: float = 15.0,
    lifespan: Lifespan[FastAPI] | None = None,
) -> FastAPI:
    """Raises ConfigurationError for API keys that no header could carry."""
    # no documentation pages: they would load scripts from elsewhere, and OpenAI's own describe this API
    api = FastAPI(
        title="Patchbay",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    chat = Chat(service, permits, models, limits, metrics, keepalive_seconds)
    api.include_router(openai_routes(chat, models, ApiKeys(api_keys)))
    api.include_router(operator_routes(readiness, metrics))
    api.add_middleware(Exchanges, metrics=metrics)

    @api.exception_handler(PatchbayError)
    async def refuse(request: Request, error: PatchbayError) -> Response:
        return error_response(explain(error, exchange_of(request.scope).request_id, metrics))

    @api.exception_handler(HTTPException)
    async def not_routed(request: Request, error: HTTPException) -> Response:
        return http_error_response(error)

    @api.exception_handler(RequestValidationError)
    async def not_valid(request: Request, error: RequestValidationError) -> Response:
        return error_response(InvalidRequest("The address or the query of the request is malformed."))

    return api

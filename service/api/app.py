"""Builds the HTTP application from plain values and the protocols of `ports`. Starts nothing and owns nothing."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Lifespan

from service.api.anthropic.routes import messages_routes
from service.api.auth import Authentication
from service.api.directions import where_to_go
from service.api.errors import error_response, explain, http_error_response
from service.api.exchange import exchange_of
from service.api.generation import Generation
from service.api.limits import RequestLimits
from service.api.middleware import Exchanges
from service.api.ports import Backend
from service.api.responses.routes import responses_routes
from service.api.routes import (
    about_routes,
    health_routes,
    metrics_routes,
    openai_routes,
    token_routes,
)
from service.api.tokenize.route import Tokenization
from service.errors import InvalidRequest, PatchbayError
from service.keys import KeyStore
from service.telemetry.metrics import Metrics
from service.telemetry.spans import Tracing


def build_api(
    backend: Backend,
    *,
    metrics: Metrics,
    limits: RequestLimits,
    keys: KeyStore | None = None,
    keepalive_seconds: float = 15.0,
    show_metrics: bool = True,
    tracing: Tracing | None = None,
    playground: APIRouter | None = None,
    allowed_origins: Sequence[str] = (),
    lifespan: Lifespan[FastAPI] | None = None,
) -> FastAPI:
    """`show_metrics` False leaves the metrics to `build_admin`; `playground` is the page at `/`, if there is one.

    Without `keys` everybody may call. Web pages of `allowed_origins` may call from a browser; `*` stands for all.
    """
    api = _application(metrics, tracing, lifespan)
    authenticate = Authentication(keys or KeyStore())
    generation = Generation(backend.chat, backend.permits, backend.models, limits, metrics, keepalive_seconds)
    api.include_router(openai_routes(generation, backend.models, authenticate))
    tokenization = Tokenization(backend.tokens, backend.permits, backend.models, limits, metrics)
    api.include_router(responses_routes(generation, tokenization, authenticate))
    api.include_router(token_routes(tokenization, authenticate))
    api.include_router(messages_routes(generation, tokenization, authenticate))
    api.include_router(health_routes(backend.readiness))
    api.include_router(about_routes())
    if show_metrics:
        api.include_router(metrics_routes(metrics, backend.engine_metrics))
    if playground is not None:
        api.include_router(playground)
    if allowed_origins:
        api.add_middleware(
            CORSMiddleware,
            allow_origins=list(allowed_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "request-id", "retry-after"],
            max_age=600,
        )
    return api


def build_admin(backend: Backend, *, metrics: Metrics) -> FastAPI:
    """Health and metrics alone, to be served on a port of their own."""
    api = _application(metrics, None, None)
    api.include_router(health_routes(backend.readiness))
    api.include_router(metrics_routes(metrics, backend.engine_metrics))
    return api


def _application(metrics: Metrics, tracing: Tracing | None, lifespan: Lifespan[FastAPI] | None) -> FastAPI:
    # no documentation pages: they would load scripts from other sites, and OpenAI's own describe this API
    api = FastAPI(
        title="Patchbay",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    api.add_middleware(Exchanges, metrics=metrics, tracing=tracing)

    @api.exception_handler(PatchbayError)
    async def refuse(request: Request, error: PatchbayError) -> Response:
        exchange = exchange_of(request.scope)
        exchange.failed(error)
        return error_response(explain(error, exchange.request_id, metrics), exchange)

    @api.exception_handler(HTTPException)
    async def not_routed(request: Request, error: HTTPException) -> Response:
        told = where_to_go(request, api) if error.status_code == 404 else None
        return http_error_response(error, told, exchange_of(request.scope))

    @api.exception_handler(RequestValidationError)
    async def not_valid(request: Request, error: RequestValidationError) -> Response:
        told = InvalidRequest("The path or the query string of the request is malformed.")
        return error_response(told, exchange_of(request.scope))

    return api

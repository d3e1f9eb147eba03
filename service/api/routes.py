"""The routes: model and tokenizer, which require a key; liveness, readiness and metrics for the operator's monitoring.

The metrics may be on a port of their own: see `app`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service import __version__
from service.api.auth import Authentication
from service.api.chat.dialect import ChatCompletions
from service.api.chat.schema import may_use
from service.api.completions.dialect import TextCompletions
from service.api.exchange import exchange_of
from service.api.generation import GeneratedResponse, Generation
from service.api.guarded import guarded_router
from service.api.openapi import rendered
from service.api.ports import EngineMetrics, ModelCatalog, Readiness
from service.api.sentences import describe
from service.api.tokenize.route import Tokenization, counted, detokenized, tokenized
from service.errors import EngineUnavailable, ModelNotFound
from service.telemetry.metrics import Metrics


def openai_routes(generation: Generation, models: ModelCatalog, authenticate: Authentication) -> APIRouter:
    router = guarded_router("/v1", authenticate)

    @router.post("/chat/completions")
    async def chat_completions() -> Response:
        return GeneratedResponse(generation, ChatCompletions())

    @router.post("/completions")
    async def completions() -> Response:
        return GeneratedResponse(generation, TextCompletions())

    @router.get("/models")
    async def list_models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": await cards(request)})

    @router.get("/models/{name:path}")
    async def retrieve_model(name: str, request: Request) -> Response:
        for card in await cards(request):
            if card.get("id") == name:
                return JSONResponse(card)
        raise ModelNotFound(f"The model {describe(name)} is not served here.", param="model")

    async def cards(request: Request) -> list[Mapping[str, Any]]:
        caller = exchange_of(request.scope).caller
        return [card for card in await models.cards() if may_use(caller, card["id"])]

    return router


def token_routes(tokenization: Tokenization, authenticate: Authentication) -> APIRouter:
    """Ours under /v1, and vLLM's where vLLM has them."""
    router = guarded_router("", authenticate)

    @router.post("/v1/tokenize")
    async def count() -> Response:
        return counted(tokenization)

    @router.post("/tokenize")
    async def tokenize() -> Response:
        return tokenized(tokenization)

    @router.post("/detokenize")
    async def detokenize() -> Response:
        return detokenized(tokenization)

    return router


def health_routes(readiness: Readiness) -> APIRouter:
    router = APIRouter(redirect_slashes=False)

    @router.get("/livez")
    async def livez() -> Response:
        """Whether the event loop is running. The engine does not count: restarting the gateway would not repair it."""
        return JSONResponse({"status": "live"})

    @router.get("/health")
    @router.get("/ping")
    @router.get("/readyz")
    async def readyz() -> Response:
        """Under three names: Kubernetes' own, vLLM's and SageMaker's, which clients written for these ask for."""
        reasons = dict(readiness.reasons())
        if reasons:
            return JSONResponse({"status": "not ready", "reasons": reasons}, 503)
        return JSONResponse({"status": "ready", "reasons": {}})

    return router


def about_routes() -> APIRouter:
    """What clients ask before anything else; needs no key."""
    router = APIRouter(redirect_slashes=False)

    @router.get("/version")
    async def version() -> Response:
        return JSONResponse({"version": __version__})

    @router.get("/openapi.json")
    async def openapi() -> Response:
        return Response(rendered(), media_type="application/json")

    return router


def metrics_routes(metrics: Metrics, engine: EngineMetrics | None) -> APIRouter:
    router = APIRouter(redirect_slashes=False)

    @router.get("/metrics")
    async def scrape(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), headers={"content-type": content_type})

    if engine is not None:

        @router.get("/metrics/engine")
        async def scrape_engine() -> Response:
            """A separate page, so that an engine that does not answer fails this scrape and not that of Patchbay."""
            try:
                page, content_type = await engine.engine_metrics()
            except EngineUnavailable as error:
                # answered here, because the exception handler would count it as a refused request
                return Response(error.message, 503, media_type="text/plain")
            return Response(page, headers={"content-type": content_type})

    return router

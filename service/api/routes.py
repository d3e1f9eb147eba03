"""The routes: chat and models behind the keys; life, readiness and metrics for the operator's own machinery."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.api.auth import ApiKeys
from service.api.chat import Chat, ChatResponse
from service.api.ports import ModelCatalog, Readiness
from service.api.sentences import describe
from service.errors import ModelNotFound
from service.metrics import Metrics


def openai_routes(chat: Chat, models: ModelCatalog, keys: ApiKeys) -> APIRouter:
    router = APIRouter(prefix="/v1", dependencies=[Depends(keys)], redirect_slashes=False)

    @router.post("/chat/completions")
    async def chat_completions() -> Response:
        return ChatResponse(chat)

    @router.get("/models")
    async def list_models() -> Response:
        return JSONResponse({"object": "list", "data": list(await models.cards())})

    @router.get("/models/{name:path}")
    async def retrieve_model(name: str) -> Response:
        for card in await models.cards():
            if card.get("id") == name:
                return JSONResponse(card)
        raise ModelNotFound(f"The model {describe(name)} is not served here.", param="model")

    return router


def operator_routes(readiness: Readiness, metrics: Metrics) -> APIRouter:
    router = APIRouter(redirect_slashes=False)

    @router.get("/livez")
    async def livez() -> Response:
        """The event loop turns; says nothing of the engine, whose failure a restart of the gateway does not mend."""
        return JSONResponse({"status": "live"})

    @router.get("/readyz")
    async def readyz() -> Response:
        reasons = dict(readiness.reasons())
        if reasons:
            return JSONResponse({"status": "not ready", "reasons": reasons}, 503)
        return JSONResponse({"status": "ready", "reasons": {}})

    @router.get("/metrics")
    async def scrape(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), headers={"content-type": content_type})

    return router

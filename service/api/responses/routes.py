"""`POST /v1/responses`. The API's other routes are about stored responses, of which there are none."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from service.api.auth import Authentication
from service.api.generation import GeneratedResponse, Generation
from service.api.guarded import guarded_router
from service.api.responses.dialect import Responses
from service.api.sentences import describe
from service.errors import NotStored


def responses_routes(generation: Generation, authenticate: Authentication) -> APIRouter:
    router = guarded_router("/v1", authenticate)

    @router.post("/responses")
    async def responses() -> Response:
        return GeneratedResponse(generation, Responses())

    @router.api_route("/responses/{rest:path}", methods=["GET", "POST", "DELETE"])
    async def stored(rest: str) -> Response:
        """Retrieving, cancelling and deleting."""
        raise NotStored(
            f"Responses are not stored here, so there is nothing at {describe(f'/v1/responses/{rest}')}. Keep each "
            "response, and send what came before along with the next request."
        )

    return router

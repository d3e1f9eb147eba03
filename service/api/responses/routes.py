"""`POST /v1/responses` and `/v1/responses/input_tokens`. The API's other routes are about stored responses, of which
there are none."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from service.api.auth import Authentication
from service.api.generation import GeneratedResponse, Generation
from service.api.guarded import guarded_router
from service.api.responses.dialect import Responses, read_to_count
from service.api.sentences import describe
from service.api.tokenize.input_tokens import InputTokensResponse
from service.api.tokenize.route import Tokenization
from service.errors import NotStored


def responses_routes(
    generation: Generation, tokenization: Tokenization, authenticate: Authentication
) -> APIRouter:
    router = guarded_router("/v1", authenticate)

    @router.post("/responses")
    async def responses() -> Response:
        return GeneratedResponse(generation, Responses())

    @router.post("/responses/input_tokens")
    async def input_tokens() -> Response:
        return InputTokensResponse(tokenization, read_to_count, {"object": "response.input_tokens"})

    @router.api_route("/responses/{rest:path}", methods=["GET", "POST", "DELETE"])
    async def stored(rest: str) -> Response:
        """Retrieving, cancelling and deleting."""
        raise NotStored(
            f"Responses are not stored here, so there is nothing at {describe(f'/v1/responses/{rest}')}. Keep each "
            "response, and send what came before along with the next request."
        )

    return router

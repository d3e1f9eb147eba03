"""`POST /v1/messages` and `/v1/messages/count_tokens`."""

from __future__ import annotations

import re
from functools import partial

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.api.anthropic.dialect import Messages, read_messages
from service.api.anthropic.fields import CountFields
from service.api.auth import Authentication
from service.api.generation import GeneratedResponse, Generation
from service.api.guarded import guarded_router
from service.api.sentences import describe
from service.api.tokenize.input_tokens import InputTokensResponse
from service.api.tokenize.route import Tokenization
from service.errors import InvalidRequest

HEADER, OLDEST = "anthropic-version", "2023-06-01"
VERSION = re.compile(r"\d{4}-\d{2}-\d{2}")


def messages_routes(
    generation: Generation, tokenization: Tokenization, authenticate: Authentication
) -> APIRouter:
    router = guarded_router("/v1", authenticate, check_version)

    @router.post("/messages")
    async def messages() -> Response:
        return GeneratedResponse(generation, Messages())

    @router.post("/messages/count_tokens")
    async def count_tokens() -> Response:
        return InputTokensResponse(tokenization, partial(read_messages, kind=CountFields), {})

    return router


async def check_version(request: Request) -> None:
    """Raises InvalidRequest for versions in which answers had another form. Later ones have the same."""
    asked = request.headers.get(HEADER, OLDEST)
    if not VERSION.fullmatch(asked) or asked < OLDEST:
        raise InvalidRequest(
            f"The header {HEADER} must be {OLDEST}, which is also its default, or a later date; received "
            f"{describe(asked)}.",
            param=HEADER,
        )

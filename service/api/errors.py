"""The one table from errors to HTTP statuses, and OpenAI's error object.

The same object is the body of a refused request and the `data:` of a stream's error event.
"""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from service import errors
from service.api.anthropic.errors import in_anthropics_words
from service.api.exchange import Exchange
from service.errors import Busy, EngineRejected, ImageError, PatchbayError, RequestError
from service.telemetry.logs import where
from service.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

STATUS: dict[type[PatchbayError], int] = {
    errors.PatchbayError: 500,
    errors.RequestError: 400,
    errors.BodyTooLarge: 413,
    errors.BodyTimeout: 408,
    errors.HeadersTooLarge: 431,
    errors.HeadersTimeout: 408,
    errors.Unauthorized: 401,
    errors.ModelNotFound: 404,
    errors.NotStored: 404,
    errors.RequestBlocked: 422,
    errors.MediaFetchFailed: 424,
    errors.Busy: 429,
    errors.TooManyConnections: 503,
    errors.EngineUnavailable: 503,
    errors.DecoderUnavailable: 503,
    errors.Draining: 503,
    errors.EngineFailed: 502,
    errors.EncoderFailed: 502,
    errors.DeadlineExceeded: 504,
}

CLIENT_LEFT = 499
"""Never sent: the status under which a request is counted when its client has disconnected."""


def status_of(error: PatchbayError) -> int:
    if isinstance(error, EngineRejected):
        return error.status
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def error_object(error: PatchbayError) -> dict[str, Any]:
    """OpenAI's error object, and in it the cause where an image could not be had from its URL. https://platform.openai.com/docs/guides/error-codes"""
    told = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return {"error": told if error.cause is None else {**told, "cause": error.cause}}


def error_response(error: PatchbayError, exchange: Exchange | None = None) -> JSONResponse:
    """In the words of the dialect of `exchange`; in OpenAI's where there is none."""
    status = status_of(error)
    headers = {}
    if isinstance(error, Busy):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if status in (408, 413):
        # the rest of the body is not read; without this header the server would continue to receive it
        headers["connection"] = "close"
    return JSONResponse(_in_words(error_object(error), status, exchange), status, headers)


def http_error_response(
    error: HTTPException, message: str | None = None, exchange: Exchange | None = None
) -> JSONResponse:
    """Errors of the router itself (no such path, wrong method), in the same format; `message` if there is a better one
    than the status's own phrase."""
    phrase = HTTPStatus(error.status_code).phrase
    message = message or (error.detail if error.detail != phrase else f"{phrase}.")
    body = {"message": message, "type": RequestError.type, "param": None, "code": _snake(phrase)}
    told = _in_words({"error": body}, error.status_code, exchange)
    return JSONResponse(told, error.status_code, error.headers)


def explain(error: Exception, request_id: str, metrics: Metrics) -> PatchbayError:
    """What the client is told about a failure, which is counted here. The text of an unexpected error goes to the log
    only."""
    match error:
        case Busy():
            metrics.rejected(error.code)
        case ImageError():
            metrics.media_error(error.code)
            if error.cause is not None:
                metrics.fetch_failed(error.cause)
        case PatchbayError():
            pass
        case _:
            log.error("unexpected error in request %s: %s", request_id, where(error))
            return PatchbayError(
                f"Patchbay failed to process this request. Its log has the reason under request id {request_id}."
            )
    return error


def _in_words(openais: dict[str, Any], status: int, exchange: Exchange | None) -> dict[str, Any]:
    if exchange is None or not exchange.anthropic:
        return openais
    return in_anthropics_words(openais, status, exchange.request_id)


def _snake(phrase: str) -> str:
    return phrase.lower().replace(" ", "_").replace("-", "_")

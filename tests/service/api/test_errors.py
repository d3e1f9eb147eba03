import json

import pytest
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException

from service import errors
from service.api.errors import error_object, error_response, explain, http_error_response, status_of
from service.errors import Busy, EngineRejected, PatchbayError
from service.telemetry.metrics import Metrics

STATUS = {
    "RequestError": 400,
    "InvalidRequest": 400,
    "BodyTooLarge": 413,
    "BodyTimeout": 408,
    "HeadersTooLarge": 431,
    "HeadersTimeout": 408,
    "MalformedRequest": 400,
    "Unauthorized": 401,
    "ModelNotFound": 404,
    "NotStored": 404,
    "RequestBlocked": 422,
    "ContextLengthExceeded": 400,
    "ImageError": 400,
    "InvalidDataURL": 400,
    "UnsupportedImageFormat": 400,
    "ImageTooLarge": 400,
    "ImageTooSmall": 400,
    "ImageTooNarrow": 400,
    "InvalidImage": 400,
    "TooManyImages": 400,
    "URLNotAllowed": 400,
    "MediaFetchFailed": 424,
    "Busy": 429,
    "QueueFull": 429,
    "RateLimited": 429,
    "ArenaFull": 429,
    "TooManyConnections": 503,
    "EngineUnavailable": 503,
    "DecoderUnavailable": 503,
    "EngineLost": 503,
    "Draining": 503,
    "EngineFailed": 502,
    "EncoderFailed": 502,
    "DeadlineExceeded": 504,
    "PatchbayError": 500,
    "ConfigurationError": 500,
    "ServedNowhere": 500,
}


def every_error() -> list[PatchbayError]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return [
        kind("why", retry_after=2.0) if issubclass(kind, Busy) else kind("why")
        for kind in kinds
        if issubclass(kind, PatchbayError) and kind is not EngineRejected
    ]


def test_every_error_has_its_status() -> None:
    assert {type(error).__name__: status_of(error) for error in every_error()} == STATUS


@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
def test_openai_s_error_object(error: PatchbayError) -> None:
    response = error_response(error)
    assert response.status_code == STATUS[type(error).__name__]
    told = {"message": "why", "type": error.type, "param": None, "code": error.code}
    if isinstance(error, errors.URLNotAllowed | errors.MediaFetchFailed):
        told["cause"] = error.cause
    assert json.loads(response.body) == {"error": told}


@pytest.mark.parametrize("seconds, header", [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.01, "2"), (60, "60")])
def test_retry_after_is_whole_seconds(seconds: float, header: str) -> None:
    response = error_response(errors.QueueFull("later", retry_after=seconds))
    assert response.headers["retry-after"] == header


def test_the_engine_s_own_status() -> None:
    error = EngineRejected("bad top_k", status=422, param="top_k")
    assert error_response(error).status_code == 422
    assert error_object(error)["error"] == {
        "message": "bad top_k",
        "type": "invalid_request_error",
        "param": "top_k",
        "code": "engine_rejected",
    }


def test_headers_that_some_statuses_need() -> None:
    assert error_response(errors.Unauthorized("who?")).headers["www-authenticate"] == "Bearer"
    assert error_response(errors.BodyTooLarge("big")).headers["connection"] == "close"
    assert error_response(errors.BodyTimeout("slow")).headers["connection"] == "close"
    assert "connection" not in error_response(errors.InvalidRequest("bad")).headers


def test_what_the_router_refuses() -> None:
    response = http_error_response(HTTPException(405, headers={"allow": "POST"}))
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert json.loads(response.body) == {
        "error": {
            "message": "Method Not Allowed.",
            "type": "invalid_request_error",
            "param": None,
            "code": "method_not_allowed",
        }
    }


def test_an_unforeseen_error_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    error = KeyError("secret")
    told = explain(error, "req-1", Metrics(CollectorRegistry()))
    assert status_of(told) == 500
    assert "req-1" in told.message and "secret" not in told.message
    (line,) = caplog.messages
    # an error's words may quote the request, so the log has its kind and the way to it
    assert line.startswith("unexpected error in request req-1: KeyError at ") and "secret" not in line


def test_refusals_are_counted() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for error in (
        errors.QueueFull("", retry_after=1),
        errors.ArenaFull("", retry_after=1),
        errors.URLNotAllowed(""),
        errors.InvalidRequest(""),
    ):
        assert explain(error, "", metrics) is error

    def counted(name: str, reason: str) -> float | None:
        return registry.get_sample_value(f"patchbay_{name}_total", {"reason": reason})

    assert counted("rejections", "queue_full") == counted("rejections", "visual_tokens_exhausted") == 1
    assert counted("media_errors", "url_not_allowed") == 1
    assert registry.get_sample_value("patchbay_fetch_failures_total", {"cause": "refused"}) == 1
    assert registry.get_sample_value("patchbay_fetch_failures_total", {"cause": "dns"}) == 0
    assert counted("rejections", "url_not_allowed") is None

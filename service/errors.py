"""All errors, as one tree. The HTTP status of each is in one table: `service.api.errors`.

PatchbayError
├── RequestError                 the client can correct it
│   ├── InvalidRequest           a field is missing, unknown, or out of range
│   ├── BodyTooLarge             the body has too many bytes
│   ├── BodyTimeout              the body arrived too slowly
│   ├── HeadersTooLarge          the headers have too many bytes, or are too many
│   ├── HeadersTimeout           the headers arrived too slowly
│   ├── MalformedRequest         what arrived is not HTTP/1.1
│   ├── Unauthorized             no API key, or one that is not accepted
│   ├── ModelNotFound            the model is not served here
│   ├── NotStored                what was asked for would have to be stored, and nothing is
│   ├── RequestBlocked           the engine died twice while it was in progress
│   ├── ContextLengthExceeded    images and text do not fit into the model's context
│   └── ImageError               about one image
│       ├── InvalidDataURL  UnsupportedImageFormat  ImageTooLarge  ImageTooSmall  ImageTooNarrow
│       ├── InvalidImage         the header is broken, or the pixels cannot be decoded
│       ├── TooManyImages
│       ├── URLNotAllowed        the URL guard refused the address
│       └── MediaFetchFailed     the image's server did not deliver it
├── Busy                         try again later; carries the seconds to wait
│   ├── QueueFull  RateLimited  ArenaFull  TooManyConnections
│   └── EngineUnavailable  EngineLost  DecoderUnavailable  Draining
├── EngineRejected               the engine refused the request; the message is its own
├── EngineFailed                 the engine failed this request
├── EncoderFailed                the encoder failed on this image; other requests go on
├── DeadlineExceeded             the request took too long
└── ConfigurationError           refused at startup
    └── ServedNowhere            nor would vLLM serve the checkpoint
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class FetchCause(StrEnum):
    """Why an image could not be had from its URL: the same words in an error, in the log and in the metric's label."""

    DNS = "dns"
    """The host's name has no address."""
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    """It did not come whole within `fetch_timeout`."""
    TOO_SLOW = "too_slow"
    """Its bytes came more slowly than any server may send them."""
    STATUS_4XX = "4xx"
    STATUS_5XX = "5xx"
    STATUS_OTHER = "other_status"
    REDIRECT = "redirect"
    """One too many, or to nowhere."""
    REFUSED = "refused"
    """By our own guard: the address is not allowed."""
    PROTOCOL = "protocol"
    """No valid HTTP, or the connection was closed early."""
    ENCODING = "encoding"
    """A Content-Encoding that is not decoded, or not what it says."""


class PatchbayError(Exception):
    """The message is a sentence for the client; `param` is the JSON path of the field that it is about."""

    code: ClassVar[str] = "internal_error"
    type: ClassVar[str] = "server_error"
    retryable: ClassVar[bool] = False
    cause: FetchCause | None = None
    """Where an image could not be had from its URL."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class RequestError(PatchbayError):
    code = "invalid_request"
    type = "invalid_request_error"


class InvalidRequest(RequestError):
    code = "invalid_value"


class BodyTooLarge(RequestError):
    code = "body_too_large"


class BodyTimeout(RequestError):
    code = "body_timeout"
    retryable = True


class HeadersTooLarge(RequestError):
    code = "headers_too_large"


class HeadersTimeout(RequestError):
    code = "headers_timeout"
    retryable = True


class MalformedRequest(RequestError):
    code = "malformed_request"


class Unauthorized(RequestError):
    code = "invalid_api_key"
    type = "authentication_error"


class ModelNotFound(RequestError):
    code = "model_not_found"


class NotStored(RequestError):
    code = "not_stored"


class RequestBlocked(RequestError):
    code = "request_blocked"


class ContextLengthExceeded(RequestError):
    code = "context_length_exceeded"


class ImageError(RequestError):
    code = "invalid_image"


class InvalidDataURL(ImageError):
    code = "invalid_data_url"


class UnsupportedImageFormat(ImageError):
    code = "unsupported_image_format"


class ImageTooLarge(ImageError):
    code = "image_too_large"


class ImageTooSmall(ImageError):
    code = "image_too_small"


class ImageTooNarrow(ImageError):
    code = "image_too_narrow"


class InvalidImage(ImageError):
    code = "invalid_image"


class TooManyImages(ImageError):
    code = "too_many_images"


class URLNotAllowed(ImageError):
    code = "url_not_allowed"

    def __init__(
        self, message: str, *, cause: FetchCause = FetchCause.REFUSED, param: str | None = None
    ) -> None:
        super().__init__(message, param=param)
        self.cause = cause


class MediaFetchFailed(ImageError):
    code = "media_fetch_failed"
    retryable = True

    def __init__(
        self, message: str, *, cause: FetchCause = FetchCause.PROTOCOL, param: str | None = None
    ) -> None:
        super().__init__(message, param=param)
        self.cause = cause


class Busy(PatchbayError):
    """Refused for the time being; `retry_after` is in seconds."""

    code = "busy"
    type = "rate_limit_error"
    retryable = True

    def __init__(self, message: str, *, retry_after: float, param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.retry_after = retry_after


class QueueFull(Busy):
    code = "queue_full"


class RateLimited(Busy):
    code = "rate_limit_exceeded"


class ArenaFull(Busy):
    code = "visual_tokens_exhausted"


class TooManyConnections(Busy):
    code = "too_many_connections"
    type = "server_error"


class EngineUnavailable(Busy):
    code = "engine_unavailable"
    type = "server_error"


class EngineLost(EngineUnavailable):
    """The engine had the request, and went away before it had answered."""


class DecoderUnavailable(Busy):
    code = "decoder_unavailable"
    type = "server_error"


class Draining(Busy):
    code = "draining"
    type = "server_error"


class EngineRejected(PatchbayError):
    """`status` (400 to 499) is that of the engine's own error."""

    code = "engine_rejected"
    type = "invalid_request_error"

    def __init__(self, message: str, *, status: int, param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.status = status


class EngineFailed(PatchbayError):
    code = "engine_error"
    retryable = True


class EncoderFailed(PatchbayError):
    code = "encoder_error"
    retryable = True


class DeadlineExceeded(PatchbayError):
    code = "deadline_exceeded"
    retryable = True


class ConfigurationError(PatchbayError):
    code = "configuration_error"


class ServedNowhere(ConfigurationError):
    """A checkpoint that vLLM does not serve either, so that pass-through is no way out."""

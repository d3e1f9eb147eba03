"""Every error that a client can receive: its meaning and its HTTP status."""

from __future__ import annotations

from collections import defaultdict

from service import errors
from service.api.errors import status_of
from service.errors import EngineRejected, PatchbayError

WHEN: dict[type[PatchbayError], str] = {
    errors.PatchbayError: "Patchbay failed to process the request; its log has the reason under the request's id",
    errors.RequestError: "the request cannot be served as it is",
    errors.InvalidRequest: "a field is missing, unknown or out of range; `param` is its path",
    errors.BodyTooLarge: "the body is larger than `max_body_bytes`",
    errors.BodyTimeout: "the body did not arrive within `body_timeout` seconds",
    errors.HeadersTooLarge: "there are more than `max_headers` headers, or more than `max_header_bytes` bytes of them",
    errors.HeadersTimeout: "the headers were not complete within `header_timeout` seconds",
    errors.MalformedRequest: "what arrived is not HTTP/1.1",
    errors.Unauthorized: "the API key is missing or not accepted",
    errors.ModelNotFound: "the model is not served here, or not for this API key",
    errors.NotStored: "nothing is stored here, so nothing can be retrieved, continued or deleted",
    errors.RequestBlocked: "the engine died twice in a row while this very request was in progress; for "
    "`block_seconds` it is not tried again",
    errors.ContextLengthExceeded: "images and text exceed the model's context; the message gives each image's tokens",
    errors.ImageError: "something is wrong with an image; `param` is its path",
    errors.InvalidDataURL: "a data URL is not a base64-encoded image; the message says which rule it breaks",
    errors.UnsupportedImageFormat: "an image is not a JPEG, PNG, WebP or GIF, or is a JPEG of a rare kind",
    errors.ImageTooLarge: "an image has more bytes than `max_image_bytes` or more pixels than `max_image_pixels`, or "
    "all images of the request together have more than `max_request_image_bytes` or `max_request_image_pixels`",
    errors.ImageTooSmall: "a side of an image is shorter than the model accepts",
    errors.ImageTooNarrow: "the ratio of an image's longer side to its shorter one is greater than the model accepts",
    errors.InvalidImage: "an image cannot be decoded; the message says why",
    errors.TooManyImages: "the request has more than `max_images` images, or more than the model takes",
    errors.URLNotAllowed: "the scheme, port, host or address of an image URL is not allowed",
    errors.MediaFetchFailed: "an image could not be fetched from its server",
    errors.Busy: "the server is busy; retry after the seconds in `Retry-After`",
    errors.QueueFull: "`max_inflight` requests are already in progress, or as many as this API key may have or as its "
    "share is, `max_bodies` request bodies are arriving, or too many requests wait for visual tokens",
    errors.RateLimited: "this API key has sent as many requests as it may in a minute",
    errors.ArenaFull: "the arena currently has no room for the soft tokens of this request's images",
    errors.TooManyConnections: "`max_connections` connections all have a request in progress",
    errors.EngineUnavailable: "the engine is starting or restarting",
    errors.DecoderUnavailable: "the processes that decode images failed twice over an image that is not to blame",
    errors.EngineLost: "the engine died while it had the request; retry after the seconds in `Retry-After`",
    errors.Draining: "the service is shutting down and accepts no new requests",
    errors.EngineRejected: "the engine refused the request, with a status of its own between 400 and 499",
    errors.EngineFailed: "the engine failed to process the request",
    errors.EncoderFailed: "the encoder failed on an image; other requests are not affected",
    errors.DeadlineExceeded: "the request took longer than `request_timeout`",
}
"""What each error means to the client that receives it."""


def by_status() -> dict[int, list[type[PatchbayError]]]:
    """The same errors by HTTP status. EngineRejected is listed under 400, the lowest of the statuses it can have."""
    found: defaultdict[int, list[type[PatchbayError]]] = defaultdict(list)
    for kind in WHEN:
        found[status_of(_instance(kind))].append(kind)
    return dict(sorted(found.items()))


def _instance(kind: type[PatchbayError]) -> PatchbayError:
    if issubclass(kind, EngineRejected):
        return kind("", status=400)
    if issubclass(kind, errors.Busy):
        return kind("", retry_after=1)
    return kind("")

"""Every error that a client can meet: what it is about, and the status that it comes with. Knows no requests."""

from __future__ import annotations

from collections import defaultdict

from service import errors
from service.api.errors import status_of
from service.errors import EngineRejected, PatchbayError

WHEN: dict[type[PatchbayError], str] = {
    errors.PatchbayError: "Patchbay failed on this request; its log has the reason under the request's id",
    errors.RequestError: "the request cannot be served as it is",
    errors.InvalidRequest: "a field is missing, unknown, or out of its range; `param` is its path",
    errors.BodyTooLarge: "the body has more bytes than `max_body_bytes`",
    errors.BodyTimeout: "the body did not arrive within `body_timeout` seconds",
    errors.Unauthorized: "the key is missing or none of `api_keys`",
    errors.ModelNotFound: "the model is not the one served",
    errors.ContextLengthExceeded: "images and text do not fit the model's context; each image's tokens are told",
    errors.ImageError: "something is wrong with an image; `param` is its path",
    errors.InvalidDataURL: "a data URL is no base64 of an image",
    errors.UnsupportedImageFormat: "it is no JPEG, PNG, WebP or GIF",
    errors.ImageTooLarge: "it has more bytes than `max_image_bytes` or more pixels than `max_image_pixels`",
    errors.ImageTooSmall: "a side is shorter than the model takes",
    errors.ImageTooNarrow: "one side is more times the other than the model takes",
    errors.InvalidImage: "it cannot be decoded",
    errors.TooManyImages: "the request has more than `max_images`",
    errors.URLNotAllowed: "the guard refuses the URL's scheme, port, host or address",
    errors.MediaFetchFailed: "the image's own server did not deliver it",
    errors.Busy: "come back after the seconds in `Retry-After`",
    errors.QueueFull: "`max_inflight` requests are inside",
    errors.ArenaFull: "the arena has no room for the soft tokens of this request's images for now",
    errors.EngineUnavailable: "the engine is starting, or is started again",
    errors.Draining: "the service is stopping and takes no new requests",
    errors.EngineRejected: "the engine refused the request, with a status of its own between 400 and 499",
    errors.EngineFailed: "the engine failed this request",
    errors.EncoderFailed: "the encoder failed this image; other requests went on",
    errors.DeadlineExceeded: "the request took longer than `request_timeout`",
}
"""What each error that a client can meet is about."""


def by_status() -> dict[int, list[type[PatchbayError]]]:
    """Errors that a client can meet, by HTTP status. EngineRejected stands under 400, the least of its own."""
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

"""What all images of one request may cost together, beside the limits on each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.domain import ImageBytes
from service.errors import ImageTooLarge

_SIZES_NAMED = 8


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Sums over the images of one request; one that comes twice counts twice."""

    max_bytes: int = 64 * 1024**2
    """Of the encoded images."""
    max_pixels: int = 200_000_000
    """Width × height, as displayed."""


class RequestBudget:
    """Counts one request's images, which are read side by side, against its limits."""

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        self._bytes = 0

    def take_bytes(self, count: int) -> None:
        """Called as bytes come, so that no more is fetched than may be kept. Raises ImageTooLarge, without `param`."""
        self._bytes += count
        if self._bytes > self._limits.max_bytes:
            raise ImageTooLarge(
                f"With this image, the images of the request have more than {self._limits.max_bytes} bytes together "
                "(max_request_image_bytes)."
            )

    def check_pixels(self, images: Sequence[ImageBytes], paths: Sequence[str]) -> None:
        """Raises ImageTooLarge with the path of the first image that is too much, in the order of the request."""
        total = 0
        for number, (image, path) in enumerate(zip(images, paths, strict=True), start=1):
            total += image.width * image.height
            if total > self._limits.max_pixels:
                raise ImageTooLarge(
                    f"With this image, the images of the request have {total} pixels together "
                    f"({_sizes(images[:number])}); at most {self._limits.max_pixels} are allowed "
                    "(max_request_image_pixels).",
                    param=path,
                )


def _sizes(images: Sequence[ImageBytes]) -> str:
    named = " + ".join(f"{image.width} × {image.height}" for image in images[:_SIZES_NAMED])
    return f"{named} + …" if len(images) > _SIZES_NAMED else named

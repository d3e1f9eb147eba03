"""All images of a request together have a bound, and the error says which image was too much."""

from __future__ import annotations

import pytest

from service.domain import ImageBytes, ImageFormat
from service.errors import ImageTooLarge
from service.ingest.budget import RequestBudget, RequestLimits


def image(width: int, height: int) -> ImageBytes:
    return ImageBytes(b"", ImageFormat.PNG, width, height, "data")


def check(sizes: list[tuple[int, int]], max_pixels: int) -> None:
    budget = RequestBudget(RequestLimits(max_pixels=max_pixels))
    budget.check_pixels([image(*size) for size in sizes], [f"images[{i}]" for i in range(len(sizes))])


def test_the_bound_on_pixels_is_inclusive() -> None:
    check([(30, 20), (10, 40)], 1000)
    check([], 1)


def test_the_first_image_that_is_too_much_is_named_with_the_sizes_up_to_it() -> None:
    with pytest.raises(ImageTooLarge) as caught:
        check([(30, 20), (10, 40), (1, 1), (50, 50)], 1000)
    assert caught.value.param == "images[2]"
    assert caught.value.message == (
        "With this image, the images of the request have 1001 pixels together (30 × 20 + 10 × 40 + 1 × 1); at most "
        "1000 are allowed (max_request_image_pixels)."
    )


def test_of_very_many_images_not_all_sizes_are_told() -> None:
    with pytest.raises(ImageTooLarge, match=r"1 × 1 \+ …\)") as caught:
        check([(1, 1)] * 5001, 5000)
    assert len(caught.value.message) < 300


def test_the_bound_on_bytes_is_inclusive_and_counts_all_pieces() -> None:
    budget = RequestBudget(RequestLimits(max_bytes=1000))
    for piece in (600, 0, 400):
        budget.take_bytes(piece)
    with pytest.raises(ImageTooLarge, match="1000 bytes together"):
        budget.take_bytes(1)

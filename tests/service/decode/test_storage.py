"""Pillow's pixels without a copy: whose memory it is, how long it lives, and what lies in it."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from PIL import Image

from service.decode.storage import LARGE_PIXELS, PIXEL_BYTES, in_place, make_room, pixels_of


def noise(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (1, 4097), (4097, 1), (2100, 2099)])
def test_pixels_are_those_that_numpy_would_copy(size: tuple[int, int]) -> None:
    """The largest is more than Pillow's own blocks hold."""
    make_room(*size)
    image = noise(*size)
    pixels = in_place(image)
    assert pixels.shape == (size[1], size[0], PIXEL_BYTES) and pixels.flags.c_contiguous
    assert np.array_equal(pixels[..., :3], np.asarray(image))


def test_no_copy_is_made() -> None:
    make_room(64, 64)
    image = noise(64, 64)
    assert in_place(image).ctypes.data == in_place(image).ctypes.data


def test_a_large_image_stays_where_it_is_and_a_small_one_is_copied() -> None:
    make_room(4000, LARGE_PIXELS // 4000)
    large, small = (
        Image.new("RGB", (4000, LARGE_PIXELS // 4000), "red"),
        Image.new("RGB", (3999, 2000), "red"),
    )
    assert pixels_of(large).shape == (2000, 4000, PIXEL_BYTES)
    assert pixels_of(small).shape == (2000, 3999, 3)
    assert (pixels_of(large)[..., :3] == (255, 0, 0)).all() and (pixels_of(small) == (255, 0, 0)).all()


def test_pixels_outlive_their_image() -> None:
    make_room(300, 300)
    image = noise(300, 300)
    expected = np.asarray(image)
    pixels = in_place(image)
    gone = weakref.ref(image)
    del image
    gc.collect()
    # would be given the image's memory, were it free
    others = [Image.new("RGB", (300, 300), "red") for _ in range(4)]
    assert gone() is None and len(others) == 4
    assert np.array_equal(pixels[..., :3], expected)


def test_an_image_in_several_pieces_is_refused() -> None:
    make_room(10, 10)
    with pytest.raises(ValueError, match="not contiguous"):
        in_place(noise(2000, 1000))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_another_mode_is_refused(mode: str) -> None:
    with pytest.raises(ValueError, match=f"mode is {mode}"):
        in_place(Image.new(mode, (2, 2)))


@pytest.mark.parametrize(("megapixels", "kept"), [(30, 1), (36, 0)])
def test_one_block_is_kept_unless_it_is_very_large(megapixels: int, kept: int) -> None:
    make_room(1000, 1000 * megapixels)
    assert Image.core.get_blocks_max() == kept

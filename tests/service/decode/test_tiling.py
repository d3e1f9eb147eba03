"""Tiles are, byte for byte, what transformers' own processor makes. 1 and 3 columns, 1-pixel images, huge ratios."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.decode.tiling import cut, resize
from service.domain import Filter, View

TILE = 112


def picture(width: int, height: int, seed: int = 0) -> torch.Tensor:
    """Noise over slopes: every kind of frequency."""
    generator = np.random.default_rng(seed)
    slope = np.linspace(0, 255, width)[None, :, None] * np.ones((height, 1, 3))
    noise = generator.integers(-128, 128, (height, width, 3))
    return torch.from_numpy((slope + noise).clip(0, 255).astype(np.uint8))


def planned(columns: int, rows: int, tile_width: int = TILE, tile_height: int = TILE) -> tuple[View, ...]:
    grid = View(columns * tile_width, rows * tile_height, tile_width, tile_height)
    thumbnail = View(tile_width, tile_height, tile_width, tile_height)
    views = (grid, thumbnail) if columns * rows > 1 else (grid,)
    return views


@pytest.fixture(scope="module")
def transformers_tiles():
    """Tiles of transformers' processor, uint8 [n, 112, 112, 3], thumbnail last."""
    from transformers import GotOcr2ImageProcessor

    processor = GotOcr2ImageProcessor(
        size={"height": TILE, "width": TILE}, crop_to_patches=True, do_rescale=False, do_normalize=False
    )

    def tiles(pixels: torch.Tensor, most: int) -> np.ndarray:
        image = Image.fromarray(pixels.numpy())
        made = processor(image, min_patches=1, max_patches=most, return_tensors="np")["pixel_values"]
        assert made.dtype == np.uint8
        return made.transpose(0, 2, 3, 1)

    return tiles


def grid_of(width: int, height: int, most: int) -> tuple[int, int]:
    from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

    return get_optimal_tiled_canvas((height, width), (TILE, TILE), 1, most)


SIZES = [
    (1, 1),
    (1, 2),
    (2, 1),
    (3, 3),
    (1, 500),
    (1, 5000),
    (5000, 1),
    (112, 112),
    (224, 112),
    (336, 336),
    (113, 111),
    (640, 480),
    (1023, 767),
    (37, 900),
]


@pytest.mark.parametrize("most", [1, 9, 12])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_tiles_are_those_of_transformers(transformers_tiles, width: int, height: int, most: int) -> None:
    pixels = picture(width, height)
    ours = cut(pixels, planned(*grid_of(width, height, most)))
    assert np.array_equal(torch.cat(ours).numpy(), transformers_tiles(pixels, most))


@settings(max_examples=25)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 99))
def test_tiles_of_any_size_are_those_of_transformers(
    transformers_tiles, width: int, height: int, seed: int
) -> None:
    pixels = picture(width, height, seed)
    ours = cut(pixels, planned(*grid_of(width, height, 9)))
    assert np.array_equal(torch.cat(ours).numpy(), transformers_tiles(pixels, 9))


def test_an_image_of_the_views_size_is_cut_and_not_resampled() -> None:
    pixels = picture(3 * 10, 2 * 7)
    (tiles, thumbnail) = cut(pixels, planned(3, 2, 10, 7))
    assert tiles.shape == (6, 7, 10, 3) and tiles.dtype == torch.uint8 and tiles.is_contiguous()
    for index in range(6):
        row, column = divmod(index, 3)
        expected = pixels[7 * row : 7 * row + 7, 10 * column : 10 * column + 10]
        assert torch.equal(tiles[index], expected)
    assert thumbnail.shape == (1, 7, 10, 3)


def test_the_input_is_left_as_it_was_and_may_be_any_view() -> None:
    pixels = picture(60, 50)
    before = pixels.clone()
    turned = pixels.transpose(0, 1)
    (tiles,) = cut(turned, planned(1, 1))
    assert torch.equal(tiles, cut(turned.contiguous(), planned(1, 1))[0])
    tiles.zero_()
    assert torch.equal(pixels, before)


@settings(max_examples=25)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 99))
def test_a_fourth_byte_is_not_looked_at(width: int, height: int, seed: int) -> None:
    pixels = picture(width, height, seed)
    other = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (height, width, 1), dtype=np.uint8))
    grid = planned(*grid_of(width, height, 9))
    for plain, padded in zip(cut(pixels, grid), cut(torch.cat((pixels, other), 2), grid), strict=True):
        assert torch.equal(plain, padded) and padded.is_contiguous()


def test_a_padded_image_of_the_views_size_loses_its_padding() -> None:
    pixels = picture(10, 7)
    (tiles,) = cut(torch.cat((pixels, pixels[..., :1]), 2), planned(1, 1, 10, 7))
    assert torch.equal(tiles[0], pixels) and tiles.is_contiguous()


def test_the_layout_in_memory_does_not_change_the_pixels() -> None:
    pixels = picture(333, 222)
    chw = torch.nn.functional.interpolate(
        pixels.permute(2, 0, 1)[None].contiguous(),
        (90, 70),
        mode="bicubic",
        antialias=True,
        align_corners=False,
    )
    assert torch.equal(resize(pixels, 70, 90), chw[0].permute(1, 2, 0))


@pytest.mark.parametrize(
    "pixels",
    [
        torch.zeros(4, 4, 3),
        torch.zeros(3, 4, 5, dtype=torch.uint8),
        torch.zeros(4, 4, 2, dtype=torch.uint8),
        torch.zeros(4, 4, dtype=torch.uint8),
        torch.zeros(0, 4, 3, dtype=torch.uint8),
        torch.zeros(1, 4, 4, 3, dtype=torch.uint8),
    ],
)
def test_other_tensors_are_refused(pixels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"uint8 \[h, w, 3 or 4\]"):
        cut(pixels, planned(1, 1))


@pytest.mark.parametrize("view", [View(100, 112, 112, 112), View(113, 112, 112, 112), View(0, 112, 112, 112)])
def test_views_that_are_no_whole_tiles_are_refused(view: View) -> None:
    with pytest.raises(ValueError, match="whole number"):
        cut(picture(5, 5), [view])


@settings(max_examples=60)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(-70, 30), st.integers(-70, 30)),
)
def test_a_canvas_takes_what_falls_on_it_and_keeps_its_colour_elsewhere(
    size: tuple[int, int], resized: tuple[int, int], offset: tuple[int, int]
) -> None:
    pixels, fill = picture(*size), (10, 20, 30)
    view = View(24, 16, 24, 16, resize=resized, offset=offset, fill=fill)
    ((canvas,),) = cut(pixels, [view])
    image = resize(pixels, *resized)
    for y, x in np.ndindex(16, 24):
        top, left = y - offset[1], x - offset[0]
        inside = 0 <= top < resized[1] and 0 <= left < resized[0]
        expected = image[top, left] if inside else torch.tensor(fill, dtype=torch.uint8)
        assert torch.equal(canvas[y, x], expected)


def test_a_crop_is_cut_before_it_is_resized() -> None:
    pixels = picture(50, 40)
    (tiles,) = cut(pixels, [View(10, 10, 10, 10, crop=(5, 8, 30, 20))])
    assert torch.equal(tiles[0], resize(pixels[8:28, 5:35].contiguous(), 10, 10))


@pytest.mark.parametrize("filter", Filter)
def test_each_filter_gives_the_pixels_of_torchvision(filter: Filter) -> None:
    from torchvision.transforms.v2 import functional

    pixels = picture(61, 47)
    mode = functional.InterpolationMode(filter.value)
    theirs = functional.resize(pixels.permute(2, 0, 1), [33, 90], mode, antialias=True)
    (tiles,) = cut(pixels, [View(90, 33, 90, 33, filter=filter)])
    assert torch.equal(tiles[0], theirs.permute(1, 2, 0))


@pytest.mark.parametrize("filter", list(Filter))
def test_an_image_is_resized_in_the_steps_that_the_view_names(filter: Filter) -> None:
    pixels = picture(90, 61)
    once = resize(pixels, 224, 152, filter).contiguous()
    twice = resize(once, 224, 224, filter).contiguous()
    views = [
        View(224, 224, TILE, TILE, filter=filter, via=((224, 152),)),
        View(TILE, TILE, TILE, TILE, filter=filter, via=((224, 152), (224, 224))),
    ]
    grid, overview = cut(pixels, views)
    assert torch.equal(grid[3], twice[TILE:, TILE:])
    assert torch.equal(overview[0], resize(twice, TILE, TILE, filter))
    with_fourth = torch.cat([pixels, pixels[..., :1]], -1)
    assert all(torch.equal(*pair) for pair in zip(cut(with_fourth, views), (grid, overview), strict=True))


def test_views_share_the_steps_that_they_have_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, int]] = []

    def counted(pixels: torch.Tensor, width: int, height: int, filter: Filter) -> torch.Tensor:
        made.append((width, height))
        return resize(pixels, width, height, filter)

    monkeypatch.setattr("service.decode.tiling.resize", counted)
    views = [
        View(224, 224, TILE, TILE, via=((224, 152),)),
        View(TILE, TILE, TILE, TILE, via=((224, 152), (224, 224))),
        View(TILE, TILE, TILE, TILE, crop=(0, 0, 9, 9)),
    ]
    cut(picture(90, 61), views)
    assert made == [(224, 152), (224, 224), (TILE, TILE), (TILE, TILE)]

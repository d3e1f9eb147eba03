"""Images are the same for the same seed, whole where they should be, and refused by the service where they should."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from loadtests import pictures
from service.decode.pixels import decode
from service.errors import InvalidImage, PatchbayError
from service.image_header import read_header
from service.ingest.probe import ImageLimits, probe


def looked_at(data: bytes) -> None:
    """Header and pixels, by the service's own code."""
    found = probe(data, source="data", limits=ImageLimits(), path="image")
    try:
        decode(found.data, found.width, found.height)
    except (OSError, ValueError) as error:
        # as the decoding pool tells it
        raise InvalidImage(str(error)) from None


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert pictures.scene(3, 5) == pictures.scene(3, 5)
    assert pictures.photo(3, 5, (160, 120)) == pictures.photo(3, 5, (160, 120))
    assert pictures.broken(3) == pictures.broken(3)
    assert pictures.scene(3, 5)[1] != pictures.scene(3, 6)[1] != pictures.scene(4, 6)[1]
    assert pictures.photo(3, 5, (160, 120)) != pictures.photo(4, 5, (160, 120))


def test_scenes_are_of_many_sizes_and_are_taken_by_the_service() -> None:
    sizes = set()
    for index in range(12):
        shown, data = pictures.scene(1, index)
        header = read_header(data)
        assert (
            header.width % shown.width == 0 and header.width // shown.width == header.height // shown.height
        )
        sizes.add((header.width, header.height))
        looked_at(data)
    assert len(sizes) > 8


def test_a_huge_scene_has_24_megapixels_of_the_same_proportion() -> None:
    shown, data = pictures.huge_scene(1, 0)
    header = read_header(data)
    assert header.width * header.height == pytest.approx(pictures.HUGE_PIXELS, rel=0.001)
    assert header.width / header.height == pytest.approx(shown.width / shown.height, rel=0.001)


def test_a_photo_has_a_photographs_spectrum_and_packs_like_one() -> None:
    data = pictures.photo(1, 0, (512, 512))
    looked_at(data)
    grey = np.asarray(Image.open(io.BytesIO(data)).convert("L"), np.float64)
    power = np.abs(np.fft.rfft2(grey - grey.mean())) ** 2
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512)[None, :])
    near, far = (power[(frequency > a) & (frequency < 2 * a)].mean() for a in (0.01, 0.04))
    # power falls with the square of the frequency: 16 times for 4 times the frequency
    assert 8 < near / far < 32
    assert 0.03 < len(data) / 512**2 < 0.8


def test_a_fresh_image_has_other_bytes_and_the_same_pixels() -> None:
    _, data = pictures.scene(1, 0)
    one, two = pictures.fresh(data, b"1"), pictures.fresh(data, b"2")
    assert len({data, one, two}) == 3
    assert read_header(one) == read_header(data)
    looked_at(one)
    assert np.array_equal(Image.open(io.BytesIO(one)), Image.open(io.BytesIO(data)))


@pytest.mark.parametrize(("data", "nonce"), [(b"\x89PNG\r\n\x1a\n", b"1"), (b"\xff\xd8\xff", bytes(0xFFFE))])
def test_what_cannot_be_made_fresh_is_refused(data: bytes, nonce: bytes) -> None:
    with pytest.raises(ValueError, match="JPEG|nonce"):
        pictures.fresh(data, nonce)


@pytest.mark.parametrize("name", sorted(pictures.broken(1)))
def test_broken_images_are_refused_by_the_services_code(name: str) -> None:
    data, codes = pictures.broken(1)[name]
    with pytest.raises(PatchbayError) as refused:
        looked_at(data)
    assert refused.value.code in codes

"""The probe: format by magic, limits by header, and nothing decoded."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image, ImageFile

from service.domain import ImageBytes, ImageFormat
from service.errors import (
    ImageError,
    ImageTooLarge,
    ImageTooNarrow,
    ImageTooSmall,
    InvalidImage,
    UnsupportedImageFormat,
)
from service.ingest.probe import ImageLimits, probe

PATH = "messages[0].content[1].image_url.url"
LIMITS = ImageLimits()


def encoded(kind: str, size: tuple[int, int], mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind, **options)
    return file.getvalue()


def look(data: bytes, limits: ImageLimits = LIMITS) -> ImageBytes:
    return probe(data, source="url", limits=limits, path=PATH)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (2, 2), (3, 3), (40, 30)])
def test_the_four_formats_pass_down_to_one_pixel(kind: str, size: tuple[int, int]) -> None:
    data = encoded(kind, size)
    assert look(data) == ImageBytes(data, ImageFormat[kind], *size, source="url")


def test_size_is_the_displayed_one() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = look(encoded("JPEG", (30, 20), exif=exif.tobytes()))
    assert (image.width, image.height) == (20, 30)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (encoded("BMP", (4, 4)), "BMP"),
        (encoded("TIFF", (4, 4)), "TIFF"),
        (encoded("JPEG2000", (4, 4)), "JPEG 2000"),
        (encoded("AVIF", (4, 4)), "AVIF"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\xff\x4f\xff\x51\0\0", "JPEG 2000"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"\0\0\0\x1cftypmsf1", "HEIF"),
        (b"\0\0\0\x20ftypisom", "a video"),
        (b"\0\0\0\x0cJXL \r\n", "JPEG XL"),
        (b"8BPS\0\1", "PSD"),
        (b"%!PS-Adobe", "PostScript"),
        (b"\0\0\1\0\1\0", "ICO"),
        (b'{"error":', "JSON"),
        (b"data:image/png;base64,", "a data URL within a data URL"),
        (base64.b64encode(encoded("PNG", (4, 4))), "base64 text, as if encoded twice"),
        (base64.b64encode(encoded("JPEG", (4, 4))), "base64 text, as if encoded twice"),
        (base64.b64encode(encoded("WEBP", (4, 4))), "base64 text, as if encoded twice"),
        (base64.b64encode(encoded("GIF", (4, 4))), "base64 text, as if encoded twice"),
        (b"SIMPLE  = T", "an unknown format"),
    ],
)
def test_other_formats_are_refused_by_their_magic(data: bytes, words: str) -> None:
    with pytest.raises(UnsupportedImageFormat, match=words) as caught:
        look(data)
    assert caught.value.param == PATH
    assert "JPEG, PNG, WebP and GIF" in caught.value.message


def test_a_broken_header_is_told_in_our_words() -> None:
    words = "header is broken or incomplete: the file ends within its header"
    with pytest.raises(InvalidImage, match=words) as caught:
        look(encoded("PNG", (4, 4))[:20])
    assert caught.value.param == PATH


def test_a_sound_jpeg_that_no_decoder_here_knows_is_told_by_its_kind() -> None:
    data = bytearray(encoded("JPEG", (4, 4)))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(UnsupportedImageFormat, match="is a JPEG of 12 bits per sample; JPEGs of 8") as caught:
        look(bytes(data))
    assert caught.value.param == PATH


@pytest.mark.parametrize(
    ("limits", "error", "words"),
    [
        (ImageLimits(max_bytes=50), ImageTooLarge, "max_image_bytes"),
        (ImageLimits(max_pixels=1199), ImageTooLarge, r"40 × 30 pixels; at most 1199 .*max_image_pixels"),
        (ImageLimits(max_side=39), ImageTooLarge, "longer than 39"),
        (ImageLimits(min_side=31), ImageTooSmall, "at least 31"),
        (
            ImageLimits(max_ratio=1.25),
            ImageTooNarrow,
            r"40 × 30 pixels; the model needs the longer side to be at most 1.25 times the shorter one",
        ),
    ],
)
def test_each_limit_has_its_sentence(limits: ImageLimits, error: type[ImageError], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        look(encoded("PNG", (40, 30)), limits)
    assert caught.value.param == PATH


def test_limits_are_inclusive() -> None:
    data = encoded("PNG", (40, 30))
    limits = ImageLimits(max_bytes=len(data), max_pixels=1200, min_side=30, max_side=40, max_ratio=40 / 30)
    assert look(data, limits).width == 40
    assert look(encoded("PNG", (30, 40)), limits).height == 40


def test_a_bomb_is_refused_without_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = encoded("PNG", (8000, 8000), "1")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("opened"))
    assert len(bomb) < 100_000
    with pytest.raises(ImageTooLarge, match="8000 × 8000"):
        look(bomb)

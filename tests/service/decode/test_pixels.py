"""What a viewer would show is what the model sees: orientation, transparency, depth, palettes, first frames."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from service.decode.pixels import Pixels, decode

CORNERS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]], np.uint8)


def picture(width: int = 48, height: int = 32) -> Image.Image:
    """Four plain quarters: red, green, blue, yellow."""
    tall, wide = height // 2, width // 2
    return Image.fromarray(CORNERS.repeat(tall, axis=0).repeat(wide, axis=1))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def shown(data: bytes, width: int, height: int) -> Pixels:
    pixels = decode(data, width, height)
    assert pixels.dtype == np.uint8 and pixels.shape == (height, width, 3)
    return pixels


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: bytes) -> bytes:
    """A PNG made by hand; `rows` are unfiltered samples, each row led by a zero."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = b"".join(chunks) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + body


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("size", [(48, 32), (2, 2), (2, 64), (600, 2)])
def test_lossless_pixels_come_back(kind: str, size: tuple[int, int]) -> None:
    image = picture(*size)
    assert np.array_equal(
        shown(encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {})), *size), image
    )


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpegs_are_pillows_own_pixels(options: dict[str, Any]) -> None:
    data = encoded(picture(), "JPEG", quality=90, **options)
    assert np.array_equal(shown(data, 48, 32), Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(), kind, exif=exif.tobytes(), **({} if kind == "PNG" else {"quality": 95}))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert np.array_equal(shown(data, *upright.size), upright)
    if orientation == 6:  # stored lying on its left side: blue comes to the upper left
        assert shown(data, 32, 48)[5, 5].argmax() == 2


def test_an_orientation_that_only_xmp_tells_is_applied() -> None:
    data = encoded(picture(), "JPEG", quality=95, xmp=b'<x tiff:Orientation="6"/>')
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert upright.size == (32, 48)
    assert np.array_equal(shown(data, 32, 48), upright)


def test_transparency_is_composed_on_white() -> None:
    image = picture().convert("RGBA")
    alpha = np.tile(np.linspace(0, 255, 48).astype(np.uint8), (32, 1))
    image.putalpha(Image.fromarray(alpha))
    colour, weight = np.asarray(picture(), np.float64), alpha[..., None] / 255
    expected = colour * weight + 255 * (1 - weight)
    for data in (encoded(image, "PNG"), encoded(image, "WEBP", lossless=True, exact=True)):
        assert np.abs(shown(data, 48, 32) - expected).max() <= 1
        assert (shown(data, 48, 32)[:, 0] == 255).all()


def test_grey_with_alpha_is_composed_on_white() -> None:
    data = png(2, 1, 8, 4, b"\0" + bytes([10, 0, 10, 255]))
    assert shown(data, 2, 1).tolist() == [[[255] * 3, [10] * 3]]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(2, 1, 8, 0, b"\0\x05\x06", chunk(b"tRNS", b"\0\x05")), [[255] * 3, [6] * 3]),
        (png(2, 1, 8, 2, b"\0\1\2\3\4\5\6", chunk(b"tRNS", b"\0\1\0\2\0\3")), [[255] * 3, [4, 5, 6]]),
        (png(2, 1, 1, 0, b"\0\x40", chunk(b"tRNS", b"\0\0")), [[255] * 3, [255] * 3]),
        (png(2, 1, 1, 0, b"\0\x40", chunk(b"tRNS", b"\0\1")), [[0] * 3, [255] * 3]),
        (
            png(
                3,
                1,
                8,
                3,
                b"\0\0\1\2",
                chunk(b"PLTE", bytes([9, 8, 7, 1, 2, 3, 4, 5, 6])),
                chunk(b"tRNS", b"\0\xff"),
            ),
            [[255] * 3, [1, 2, 3], [4, 5, 6]],
        ),
        (png(2, 1, 16, 0, b"\0\x12\x34\x12\x35", chunk(b"tRNS", b"\x12\x34")), [[255] * 3, [0x12] * 3]),
    ],
    ids=["grey", "rgb", "one-bit-black", "one-bit-white", "palette", "sixteen-bit"],
)
def test_transparent_colours_show_white(data: bytes, expected: list[list[int]]) -> None:
    assert shown(data, len(expected), 1).tolist() == [expected]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(3, 1, 16, 0, b"\0\x00\xff\x80\x00\xff\x12"), [[0] * 3, [0x80] * 3, [0xFF] * 3]),
        (png(1, 1, 16, 2, b"\0\x10\xff\x20\xff\x30\xff"), [[0x10, 0x20, 0x30]]),
        (png(1, 1, 16, 6, b"\0\x10\xff\x20\xff\x30\xff\xff\xff"), [[0x10, 0x20, 0x30]]),
        (png(2, 1, 1, 0, b"\0\x40"), [[0] * 3, [255] * 3]),
        (png(2, 1, 2, 0, b"\0\x60"), [[85] * 3, [170] * 3]),
        (png(2, 1, 4, 3, b"\0\x01", chunk(b"PLTE", b"\1\2\3\4\5\6")), [[1, 2, 3], [4, 5, 6]]),
    ],
    ids=["grey16", "rgb16", "rgba16", "one-bit", "two-bit", "palette4"],
)
def test_every_depth_of_a_png_becomes_eight_bits(data: bytes, expected: list[list[int]]) -> None:
    assert shown(data, len(expected), 1).tolist() == [expected]


def test_cmyk_is_shown_in_its_colours() -> None:
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    red = shown(encoded(cmyk, "JPEG", quality=95), 16, 16)[8, 8]
    assert red[0] > 240 and red[1] < 15 and red[2] < 15


def animation(kind: str) -> bytes:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, **options)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_stands_for_an_animation(kind: str) -> None:
    data = animation(kind)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert (shown(data, 20, 10) == [255, 0, 0]).all()


def test_a_second_frame_that_is_broken_or_larger_is_nobodys_business() -> None:
    first = encoded(Image.new("P", (8, 8)), "GIF")
    bomb = b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x08\xff" + bytes(300)
    assert shown(first[:-1] + bomb, 8, 8).shape == (8, 8, 3)


@pytest.mark.parametrize("options", [{}, {"transparency": 3}], ids=["opaque", "transparent"])
@pytest.mark.parametrize(
    ("screen", "offset"),
    [((20, 10), (0, 0)), ((64, 40), (0, 0)), ((64, 40), (10, 5)), ((50, 33), (10, 5)), ((0, 0), (0, 0))],
    ids=["larger", "within", "inside", "beyond", "no-screen"],
)
def test_a_gif_whose_first_frame_is_not_its_screen_is_shown_as_pillow_shows_it(
    screen: tuple[int, int], offset: tuple[int, int], options: dict[str, Any]
) -> None:
    data = bytearray(encoded(picture().quantize(4), "GIF", **options))
    frame = data.index(b"," + struct.pack("<4H", 0, 0, 48, 32))
    data[6:10] = struct.pack("<HH", *screen)
    data[frame + 1 : frame + 5] = struct.pack("<HH", *offset)
    with Image.open(io.BytesIO(data)) as image:
        on_white = Image.new("RGBA", image.size, "white")
        on_white.alpha_composite(image.convert("RGBA"))
    assert on_white.size == (max(screen[0], offset[0] + 48), max(screen[1], offset[1] + 32))
    assert np.array_equal(shown(bytes(data), *on_white.size), on_white.convert("RGB"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_truncated_images_are_refused(kind: str) -> None:
    data = encoded(Image.effect_noise((64, 48), 80).convert("RGB"), kind)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises((OSError, SyntaxError, ValueError)):
            decode(data[: int(len(data) * share)], 64, 48)


@pytest.mark.parametrize("size", [(48, 33), (32, 48), (1, 1)])
def test_another_size_than_announced_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="announced"):
        decode(encoded(picture(), "PNG"), *size)


def test_a_frame_header_that_contradicts_the_first_is_refused() -> None:
    """Pillow believes the last frame header of a JPEG, and we the first: nothing may be decoded at Pillow's size."""
    data = encoded(picture(), "JPEG")
    frame = data.index(b"\xff\xc0")
    length = 2 + int.from_bytes(data[frame + 2 : frame + 4], "big")
    other = bytearray(data[frame : frame + length])
    other[5:9] = struct.pack(">HH", 32, 44)
    with pytest.raises(ValueError, match="decoder finds another size"):
        decode(data[:frame] + bytes(other) + data[frame:], 44, 32)


@pytest.mark.parametrize(("scans", "allowed"), [(64, True), (65, False)])
def test_a_jpeg_may_not_be_gone_over_for_ever(scans: int, allowed: bool) -> None:
    data = encoded(Image.new("L", (48, 32)), "JPEG", progressive=True)
    begin = data.rindex(b"\xff\xda")
    data = data[:begin] + data[begin:-2] * (scans - data.count(b"\xff\xda") + 1) + data[-2:]
    if allowed:
        assert shown(data, 48, 32).shape == (32, 48, 3)
    else:
        with pytest.raises(ValueError, match="too many scans"):
            decode(data, 48, 32)


def test_a_text_chunk_that_inflates_without_bound_is_refused() -> None:
    bomb = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(20_000_000), 1))
    profile = chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(20_000_000), 1))
    for part in (bomb, profile):
        with pytest.raises(ValueError, match="too large"):
            decode(png(1, 1, 8, 0, b"\0\0", part), 1, 1)


def test_an_image_whose_data_inflates_beyond_its_size_stays_its_size() -> None:
    rows = b"\0\x07" + bytes(50_000_000)
    assert shown(png(1, 1, 8, 0, rows), 1, 1).tolist() == [[[7] * 3]]


def test_a_format_is_never_decoded_as_another() -> None:
    tiff = encoded(picture(), "TIFF")
    for magic in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBP"):
        with pytest.raises((ValueError, SyntaxError, OSError)):
            decode(magic + tiff[len(magic) :], 48, 32)

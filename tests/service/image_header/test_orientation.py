"""An image is turned as Pillow's `exif_transpose` turns it, wherever its orientation stands, however it is written."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin

from service.image_header import read_header
from service.image_header.fields import MOST_TEXT
from service.image_header.orientation import orientation

TAG = 0x0112
SHORT, LONG, SLONG = 3, 4, 9
NUMBERS = {3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q"}
PATTERNS = ['<rdf:Description tiff:Orientation="{}"/>', "<tiff:Orientation>{}</tiff:Orientation>"]


def tiff(*entries: tuple[int, int, int, bytes], order: str = "<", rest: bytes = b"") -> bytes:
    """An EXIF block of one directory: (tag, type, count, four bytes of value or place), then whatever comes behind."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    body = [
        struct.pack(order + "HHI", *entry) + value.ljust(4, b"\0")[:4]
        for *entry, value in entries
    ]  # fmt: skip
    return head + b"".join(body) + bytes(4) + rest


def written(value: int, kind: int = SHORT, order: str = "<") -> bytes:
    """A block that holds nothing but the orientation, as a number of that type."""
    number = struct.pack(order + NUMBERS[kind], value)
    if len(number) <= 4:
        return tiff((TAG, kind, 1, number), order=order)
    return tiff((TAG, kind, 1, struct.pack(order + "I", 26)), order=order, rest=number)


def saved(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image = Image.linear_gradient("L").resize((30, 20)).convert("RGB")
    image.save(file, kind, **options)
    return file.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_with(*chunks: bytes, behind: bool = False) -> bytes:
    plain = saved("PNG")
    place = len(plain) - 12 if behind else 33
    return plain[:place] + b"".join(chunks) + plain[place:]


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def jpeg_with(*segments: bytes, before: bytes = b"\xff\xdb") -> bytes:
    """The segments before the first one with that marker."""
    plain = saved("JPEG")
    place = plain.index(before)
    return plain[:place] + b"".join(segments) + plain[place:]


def app1(block: bytes) -> bytes:
    return segment(0xE1, b"Exif\0\0" + block)


def xmp_segment(text: bytes) -> bytes:
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + text)


def raw_profile(block: bytes) -> bytes:
    """As ImageMagick writes it: lines of 72 digits."""
    content = b"Exif\0\0" + block
    digits = content.hex()
    lines = "\n".join(digits[begin : begin + 72] for begin in range(0, len(digits), 72))
    return f"\nexif\n{len(content):8}\n{lines}\n".encode()


def text_chunk(kind: bytes, keyword: bytes, text: bytes) -> bytes:
    match kind:
        case b"zTXt":
            return png_chunk(kind, keyword + b"\0\0" + zlib.compress(text))
        case b"iTXt":
            return png_chunk(kind, keyword + b"\0\0\0en\0Titel\0" + text)
        case b"iTXt packed":
            return png_chunk(b"iTXt", keyword + b"\0\1\0\0\0" + zlib.compress(text))
        case _:
            return png_chunk(kind, keyword + b"\0" + text)


def in_pillow(data: bytes) -> int:
    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as image:
        image.load()
        return as_applied(image.getexif().get(TAG, 1))


def as_applied(value: object) -> int:
    """By the look-up of `exif_transpose`: what equals a number from 2 to 8 turns the image."""
    return {number: number for number in range(2, 9)}.get(value, 1)  # type: ignore[call-overload, no-any-return]


TEXTS = [b"tEXt", b"zTXt", b"iTXt", b"iTXt packed"]
PLACES: dict[str, Any] = {
    "JPEG before the frame": lambda block: jpeg_with(app1(block)),
    "JPEG between frame and scan": lambda block: jpeg_with(app1(block), before=b"\xff\xda"),
    "JPEG in two segments": lambda block: jpeg_with(app1(block[:11]), segment(0xFE, b"x"), app1(block[11:])),
    "PNG": lambda block: png_with(png_chunk(b"eXIf", block)),
    "PNG behind its pixels": lambda block: png_with(png_chunk(b"eXIf", block), behind=True),
    "PNG with two blocks": lambda block: png_with(png_chunk(b"eXIf", written(3)), png_chunk(b"eXIf", block)),
    "WebP": lambda block: saved("WEBP", exif=block, lossless=True),
    "WebP with a prefix": lambda block: saved("WEBP", exif=b"Exif\0\0" + block, lossless=True),
} | {
    f"PNG raw profile in {kind.decode()}": lambda block, kind=kind: png_with(
        text_chunk(kind, b"Raw profile type exif", raw_profile(block))
    )
    for kind in TEXTS
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", range(1, 9))
def test_it_is_found_wherever_it_may_stand(place: str, value: int) -> None:
    data = PLACES[place](written(value))
    assert read_header(data).orientation == in_pillow(data) == value


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("order", ["<", ">"])
def test_it_may_be_a_number_of_any_type_in_either_byte_order(kind: int, order: str) -> None:
    data = jpeg_with(app1(written(6, kind, order)))
    assert read_header(data).orientation == in_pillow(data) == 6
    header = read_header(data)
    with Image.open(io.BytesIO(data)) as image:
        assert (header.width, header.height) == ImageOps.exif_transpose(image).size == (20, 30)


XMP_PLACES: dict[str, Any] = {
    "JPEG": lambda text: jpeg_with(xmp_segment(text)),
    "JPEG between frame and scan": lambda text: jpeg_with(xmp_segment(text), before=b"\xff\xda"),
    "JPEG with two packets": lambda text: jpeg_with(xmp_segment(b'tiff:Orientation="3"'), xmp_segment(text)),
    "WebP": lambda text: saved("WEBP", xmp=text, lossless=True),
} | {
    f"PNG in {kind.decode()}": lambda text, kind=kind: png_with(text_chunk(kind, b"XML:com.adobe.xmp", text))
    for kind in TEXTS
}


@pytest.mark.parametrize("place", XMP_PLACES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_xmp_alone_is_enough(place: str, pattern: str) -> None:
    for value in range(10):
        data = XMP_PLACES[place](pattern.format(value).encode())
        assert read_header(data).orientation == in_pillow(data)
        assert read_header(data).orientation == (value if 1 <= value <= 8 else 1)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (written(3), 3),
        (tiff((0x010F, 2, 2, b"A\0")), 6),
        (tiff((TAG, 2, 2, b"8\0")), 1),
        (tiff((TAG, 1, 1, b"\x08")), 1),
        (written(9), 1),
    ],
    ids=["EXIF says 3", "EXIF without it", "a text", "a byte", "nine"],
)
def test_exif_wins_over_xmp_where_it_speaks_of_the_orientation(block: bytes, expected: int) -> None:
    data = jpeg_with(app1(block), xmp_segment(b'tiff:Orientation="6"'))
    assert read_header(data).orientation == in_pillow(data) == expected


@pytest.mark.parametrize(
    ("flags", "expected"), [(0x00, 1), (0x08, 8), (0x04, 6), (0x0C, 8)], ids=["none", "exif", "xmp", "both"]
)
def test_webp_chunks_count_where_the_flags_announce_them(flags: int, expected: int) -> None:
    data = bytearray(saved("WEBP", lossless=True, exif=written(8), xmp=b'tiff:Orientation="6"'))
    data[20] = data[20] & ~0x0C | flags
    assert read_header(bytes(data)).orientation == in_pillow(bytes(data)) == expected


def animation(*chunks: bytes, default_image: bool) -> bytes:
    """An APNG of two frames, with the chunks behind the first one's pixels."""
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "lime")]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:], default_image=default_image)
    data = file.getvalue()
    place = data.index(b"fcTL", data.index(b"IDAT")) - 4
    return data[:place] + chunks[0] + data[place:-12] + b"".join(chunks[1:]) + data[-12:]


@pytest.mark.parametrize("default_image", [True, False])
def test_of_an_animation_what_follows_the_second_frame_does_not_count(default_image: bool) -> None:
    for turned, where in ((6, 0), (1, 1)):
        chunks = [b"", b""]
        chunks[where] = png_chunk(b"eXIf", written(6))
        data = animation(*chunks, default_image=default_image)
        assert read_header(data).orientation == in_pillow(data) == turned


def test_a_text_that_inflates_without_bound_is_inflated_no_further_than_the_limit() -> None:
    late = bytes(MOST_TEXT) + b'tiff:Orientation="6"'
    for text, expected in ((late[30:], 6), (late, 1)):
        data = png_with(text_chunk(b"zTXt", b"XML:com.adobe.xmp", text))
        assert read_header(data).orientation == expected
    bomb = png_with(*[text_chunk(b"zTXt", b"XML:com.adobe.xmp", bytes(MOST_TEXT))] * 3000)
    assert read_header(bomb).orientation == 1


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"zTXt", b"Raw profile type exif\0\0not deflate"),
        png_chunk(b"zTXt", b"Raw profile type exif\0"),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0"),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0"),
        png_chunk(b"tEXt", b"Raw profile type exif\0\nexif\n  9\nzz"),
        png_chunk(b"tEXt", b"Raw profile type exif\0\nexif"),
    ],
)
def test_a_broken_text_says_nothing(chunk: bytes) -> None:
    assert read_header(png_with(chunk)).orientation == 1


def test_prefixes_and_odd_byte_order_marks_are_read_as_pillow_reads_them() -> None:
    for mark in (b"II*\0", b"II\0*"):
        block = mark + written(6)[4:]
        assert orientation(block, None) == orientation(b"Exif\0\0" * 2 + block, None) == 6
    for mark in (b"MM\0*", b"MM*\0", b"MM\0+"):
        assert orientation(mark + written(6, order=">")[4:], None) == 6
    for mark in (b"II+\0", b"MMXX", b""):
        assert orientation(mark + written(6)[4:], None) == 1


ENTRY = st.tuples(
    st.sampled_from([TAG, TAG, 0x010F, 0x0110, 0x8769]),
    st.integers(0, 18),
    st.integers(0, 5) | st.integers(0, 2**32 - 1),
    st.integers(0, 9).map(lambda value: bytes([value]))
    | st.integers(0, 9).map(lambda value: bytes([0, value]))
    | st.integers(0, 9).map(lambda value: bytes([0, 0, 0, value]))
    | st.integers(0, 120).map(lambda place: struct.pack("<I", place))
    | st.binary(max_size=4),
)
BLOCK = st.builds(
    lambda entries, order, rest, prefix, cut: (prefix + tiff(*entries, order=order, rest=rest))[: cut or None],
    st.lists(ENTRY, max_size=5),
    st.sampled_from("<>"),
    st.lists(st.integers(0, 9).map(lambda value: struct.pack("<II", value, 1)) | st.binary(max_size=9), max_size=9).map(
        b"".join
    ),
    st.sampled_from([b"", b"Exif\0\0", b"Exif\0\0Exif\0\0"]),
    st.just(0) | st.integers(1, 120),
)  # fmt: skip


@given(BLOCK)
def test_any_block_is_read_as_pillow_reads_it(block: bytes) -> None:
    exif = Image.Exif()
    with warnings.catch_warnings(action="ignore"):
        try:
            exif.load(block)
            value = exif.get(TAG, 1)
        # what Pillow cannot read it raises, and an image viewer does not turn
        except (SyntaxError, struct.error):
            value = 1
    assert orientation(block, None) == as_applied(value)


@given(st.binary(max_size=64))
def test_any_bytes_give_an_orientation(block: bytes) -> None:
    assert 1 <= orientation(b"II*\0" + block, block) <= 8


def test_the_library_that_writes_text_chunks_agrees() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", raw_profile(written(3, LONG)).decode(), zip=True)
    info.add_itxt("XML:com.adobe.xmp", 'tiff:Orientation="6"', zip=True)
    data = saved("PNG", pnginfo=info)
    assert read_header(data).orientation == in_pillow(data) == 3

"""Headers read here must be what Pillow finds, and no byte sequence may do more than raise ValueError."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from service.domain import ImageFormat
from service.image_header import ImageHeader, UnsupportedKind, jpeg_scans, read_header, sniff


def encoded(kind: str, size: tuple[int, int], mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind, **options)
    return file.getvalue()


def exif_block(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


ENCODINGS: list[Any] = [
    pytest.param("JPEG", "RGB", {}, id="jpeg"),
    pytest.param("JPEG", "CMYK", {}, id="jpeg-cmyk"),
    pytest.param("JPEG", "L", {"progressive": True}, id="jpeg-progressive"),
    pytest.param(
        "JPEG", "RGB", {"icc_profile": b"i" * 200_000, "comment": b"c" * 60_000}, id="jpeg-long-segments"
    ),
    pytest.param("PNG", "RGBA", {}, id="png"),
    pytest.param("WEBP", "RGB", {"quality": 50}, id="webp-lossy"),
    pytest.param("WEBP", "RGB", {"lossless": True}, id="webp-lossless"),
    pytest.param("WEBP", "RGBA", {"exif": exif_block(1)}, id="webp-extended"),
    pytest.param("GIF", "P", {}, id="gif"),
]


@pytest.mark.parametrize(("kind", "mode", "options"), ENCODINGS)
@pytest.mark.parametrize("size", [(1, 1), (3, 700), (1023, 2), (300, 257)])
def test_size_and_format_are_pillows(
    kind: str, mode: str, options: dict[str, Any], size: tuple[int, int]
) -> None:
    data = encoded(kind, size, mode, **options)
    assert read_header(data) == ImageHeader(ImageFormat[kind], *size, orientation=1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("value", range(1, 9))
def test_displayed_size_follows_the_orientation(kind: str, value: int) -> None:
    data = encoded(kind, (30, 20), exif=exif_block(value))
    header = read_header(data)
    shown = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert header.orientation == value
    assert (header.stored_width, header.stored_height) == (30, 20)
    assert (header.width, header.height) == shown.size


def test_exif_is_found_behind_chunks_of_odd_length() -> None:
    data = encoded("WEBP", (30, 20), icc_profile=b"odd", exif=exif_block(8))
    assert data.index(b"ICCP") < data.index(b"EXIF")
    assert read_header(data).orientation == 8


@pytest.mark.parametrize("marker", [0xC4, 0xC8, 0xCC])
def test_tables_before_the_frame_are_no_frames(marker: int) -> None:
    data = encoded("JPEG", (30, 20))
    table = bytes([0xFF, marker, 0, 9]) + b"\x08\x00\x07\x00\x09\x01\x01"
    assert read_header(data[:2] + table + data[2:]).stored_width == 30


def test_exif_after_the_pixels_of_a_png_counts() -> None:
    plain = encoded("PNG", (30, 20))
    block = exif_block(6).removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + b"\0\0\0\0"
    assert read_header(plain[:-12] + chunk + plain[-12:]).orientation == 6


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_file_cut_anywhere_is_read_rightly_or_refused(kind: str) -> None:
    data = encoded(kind, (31, 17))
    refused = 0
    for length in range(len(data)):
        try:
            header = read_header(data[:length])
        except ValueError:
            refused += 1
        else:
            assert (header.width, header.height) == (31, 17)
    assert refused >= 8


MAGIC = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"GIF89a", b""]
PIECES = st.sampled_from(
    [
        *(b"\xff", b"\xc0", b"\xe1", b"\xda", b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"),
        *(b"VP8X", b"VP8L", b"VP8 ", b"EXIF", b"XMP ", b"!\xfe", b","),
        *(b"IHDR", b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"acTL", b"fcTL", b"IDAT", b"\0\0\0\x0d"),
        *(b"Raw profile type exif\0", b"XML:com.adobe.xmp\0", b'tiff:Orientation="6'),
    ]
)


@given(st.sampled_from(MAGIC), st.lists(PIECES | st.binary(max_size=20), max_size=12).map(b"".join))
def test_hostile_bytes_raise_nothing_but_value_error(magic: bytes, rest: bytes) -> None:
    data = magic + rest
    try:
        header = read_header(data)
    except ValueError:
        return
    assert header.format is sniff(data)
    assert header.width >= 1 and header.height >= 1 and 1 <= header.orientation <= 8


def test_a_flood_of_segments_is_given_up() -> None:
    frame = b"\xff\xc0\x00\x0b\x08\x00\x10\x00\x20\x01\x01\x11\x00"
    empty = b"\xff\xe5\x00\x02"
    assert read_header(b"\xff\xd8" + empty * 4000 + frame).width == 32
    with pytest.raises(ValueError, match="too many segments"):
        read_header(b"\xff\xd8" + empty * 5000 + frame)
    png = encoded("PNG", (5, 4))
    assert read_header(png[:33] + (b"\0\0\0\0teXt\0\0\0\0" * 100_000)).width == 5


@pytest.mark.parametrize("filler", [b"\xff", b"\xff\x00", b"\xff\xd0", b"\x00"])
def test_filler_between_the_segments_of_a_jpeg_is_bounded(filler: bytes) -> None:
    """In one gap or in many, up to the first scan: after it comes data, of which there may be any amount."""
    data = encoded("JPEG", (30, 20))
    segment, gap = b"\xff\xe5\x00\x02", filler * (1024 // len(filler))
    for gaps, sound in ((64, True), (65, False)):
        for before in ((segment + gap) * gaps, segment + gap * gaps):
            bytes_ = data[:2] + before + data[2:]
            if sound:
                assert read_header(bytes_) == read_header(data)
            else:
                with pytest.raises(ValueError, match="belong to no segment"):
                    read_header(bytes_)
    assert read_header(data[:-2] + gap * 100 + data[-2:]) == read_header(data)
    assert jpeg_scans(data[:-2] + b"\xff\x00" * 200_000 + data[data.index(b"\xff\xda") :]) == 2


class Unadded(bytes):
    """Fails where it is added to other bytes: of many pieces, that would copy all that came before, each time."""

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return Unadded(found) if isinstance(found, bytes) else found

    def __add__(self, other: Any) -> bytes:
        raise AssertionError("added piece by piece")

    __radd__ = __add__


def test_exif_in_thousands_of_pieces_is_joined_once() -> None:
    data = encoded("JPEG", (30, 20))
    whole = b"Exif\0\0" + b"MM\0*\0\0\0\x08" + b"\0\1" + b"\x01\x12\0\3\0\0\0\1\0\6\0\0" + b"x" * 4000
    pieces = [whole[:7], *(b"Exif\0\0" + whole[at : at + 1] for at in range(7, 4000))]
    split = b"".join(b"\xff\xe1" + struct.pack(">H", len(piece) + 2) + piece for piece in pieces)
    assert read_header(Unadded(data[:2] + split + data[2:])).orientation == 6


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_a_side_of_zero_is_refused(kind: str) -> None:
    data = encoded(kind, (4098, 4098))
    number = (b"\x02\x10" if kind == "GIF" else b"\x10\x02").rjust(4 if kind == "PNG" else 2, b"\0")
    assert number in data
    with pytest.raises(ValueError, match="zero"):
        # of a GIF screen and frame
        read_header(data.replace(number, b"\0" * len(number), -1 if kind == "GIF" else 1))


def gif_with_screen(width: int, height: int, frame: tuple[int, int, int, int], *extensions: bytes) -> bytes:
    """A GIF whose first frame (left, top, width, height) need not agree with its screen."""
    left, top, *size = frame
    data = encoded("GIF", (size[0], size[1]), "P")
    begin = data.rindex(b"," + struct.pack("<4H", 0, 0, *size))
    head = data[:6] + struct.pack("<HH", width, height) + data[10:begin]
    return head + b"".join(extensions) + b"," + struct.pack("<4H", left, top, *size) + data[begin + 9 :]


@pytest.mark.parametrize(
    ("screen", "frame"),
    [
        ((20, 10), (0, 0, 20, 10)),
        ((20, 10), (0, 0, 30, 40)),
        ((20, 10), (15, 3, 8, 4)),
        ((20, 10), (3, 4, 5, 6)),
        ((20, 10), (30, 0, 4, 4)),
        ((0, 0), (0, 0, 7, 5)),
    ],
    ids=["equal", "larger", "beyond-the-right", "within", "outside", "no-screen"],
)
def test_a_gifs_screen_grows_to_hold_its_first_frame(
    screen: tuple[int, int], frame: tuple[int, int, int, int]
) -> None:
    comment = b"!\xfe" + (b"\xff" + bytes(255)) * 300 + b"\0"
    for extensions in ((), (comment, b"\0junk", b"!\xf9\x04\0\0\0\0\0")):
        data = gif_with_screen(*screen, frame, *extensions)
        header = read_header(data)
        assert (header.width, header.height) == Image.open(io.BytesIO(data)).size


def test_a_gif_without_a_frame_or_of_endless_blocks_is_refused() -> None:
    data = gif_with_screen(4, 4, (0, 0, 4, 4))
    frame = data.rindex(b",")
    with pytest.raises(ValueError, match="without a frame"):
        read_header(data[:frame] + b";" + data[frame:])
    with pytest.raises(ValueError, match="ends before its first frame"):
        read_header(data[:frame])
    with pytest.raises(ValueError, match="too many blocks"):
        read_header(data[:frame] + b"!\xfe" + b"\x01\x01" * 70_000 + b"\0" + data[frame:])


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (0, b"\x0c", "a JPEG of 12 bits per sample"),
        (5, b"\x02", "a JPEG of 2 components"),
        (-3, b"\xc5", "a hierarchical JPEG"),
    ],
)
def test_kinds_of_jpeg_that_no_decoder_here_knows_are_named(field: int, value: bytes, words: str) -> None:
    data = bytearray(encoded("JPEG", (30, 20)))
    frame = data.index(b"\xff\xc0") + 4  # behind marker and length
    data[frame + field : frame + field + 1] = value
    with pytest.raises(UnsupportedKind, match=words):
        read_header(bytes(data))


@pytest.mark.parametrize(
    ("options", "scans"), [({}, 1), ({"progressive": True}, 10), ({"restart_marker_rows": 1}, 1)]
)
def test_scans_are_counted_and_nothing_that_looks_like_one(options: dict[str, Any], scans: int) -> None:
    picture = Image.effect_noise((300, 200), 90).convert("RGB")
    file = io.BytesIO()
    picture.save(file, "JPEG", comment=b"\xff\xda\xff\xda\xff\xd9", quality=95, **options)
    assert jpeg_scans(file.getvalue() + b"\xff\xda" * 500) == scans

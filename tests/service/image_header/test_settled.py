"""The beginning of a file that calls itself settled says of the size what the whole file says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.image_header import ImageHeader, read_header
from tests.service.image_header.test_image_header import encoded, exif_block
from tests.service.image_header.test_orientation import png_chunk, png_with, saved

TURNED = exif_block(6)
XMP = b'<rdf:Description tiff:Orientation="6"/>'
FILES = {
    "jpeg": saved("JPEG"),
    "jpeg, turned": saved("JPEG", exif=TURNED),
    "jpeg, progressive, turned": saved("JPEG", exif=TURNED, progressive=True),
    "jpeg, long segments": encoded("JPEG", (30, 20), icc_profile=b"i" * 200_000, exif=TURNED),
    "png": saved("PNG"),
    "png, turned before its pixels": saved("PNG", exif=TURNED),
    "png, turned behind its pixels": png_with(
        png_chunk(b"eXIf", TURNED.removeprefix(b"Exif\0\0")), behind=True
    ),
    "webp": saved("WEBP"),
    "webp, lossless": saved("WEBP", lossless=True),
    "webp, turned": saved("WEBP", exif=TURNED),
    "webp, turned in xmp": saved("WEBP", xmp=XMP),
    "gif": encoded("GIF", (30, 20), "P"),
    **{path.stem: path.read_bytes() for path in sorted(Path("demo/scenes").glob("*.*g"))},
}
FILES |= {f"{name}, and more": data + b"\xff\xe1 more" * 9 for name, data in FILES.items()}


def sizes(header: ImageHeader) -> tuple[int, int]:
    return header.width, header.height


@pytest.mark.parametrize("name", FILES)
def test_a_whole_file_is_settled(name: str) -> None:
    assert read_header(FILES[name]).settled


@given(name=st.sampled_from(sorted(FILES)), share=st.floats(0, 1))
def test_what_follows_a_settled_beginning_changes_nothing(name: str, share: float) -> None:
    data = FILES[name]
    beginning = data[: round(share * len(data))]
    try:
        header = read_header(beginning)
    except ValueError:
        return
    if header.settled:
        assert sizes(header) == sizes(read_header(data))


@pytest.mark.parametrize("name", ["jpeg", "jpeg, turned", "webp", "webp, lossless", "gif", "shapes"])
def test_the_pixels_need_not_be_there(name: str) -> None:
    data = FILES[name]
    least = next(size for size in range(len(data)) if is_settled(data[:size]))
    assert least < len(data)
    assert sizes(read_header(data[:least])) == sizes(read_header(data))


@pytest.mark.parametrize("name", ["png, turned behind its pixels", "webp, turned", "webp, turned in xmp"])
def test_an_orientation_behind_the_pixels_is_waited_for(name: str) -> None:
    data = FILES[name]
    first = next(size for size in range(len(data) + 1) if is_settled(data[:size]))
    assert data[:first].find(b"EXIF") > 0 or data[:first].find(b"XMP ") > 0 or data[:first].find(b"eXIf") > 0


def is_settled(data: bytes) -> bool:
    try:
        return read_header(data).settled
    except ValueError:
        return False

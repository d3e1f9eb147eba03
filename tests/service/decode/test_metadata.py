"""What cameras, telephones and editors write beside the pixels is no reason to refuse a picture.

Through the sandboxed workers, which can open no file: what a library loads when it first meets such data, it cannot.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from service.decode import DecodePool
from service.decode.tiling import cut
from service.domain import ImageBytes, ImageFormat, View
from tests.waiting import DEADLOCK

pytestmark = pytest.mark.anyio

WIDTH, HEIGHT = 96, 64
VIEWS = (View(WIDTH, HEIGHT, 32, 32), View(32, 32, 32, 32))
XMP = b'<?xpacket begin="\xef\xbb\xbf"?><x:xmpmeta xmlns:x="adobe:ns:meta/"></x:xmpmeta><?xpacket end="w"?>'


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[DecodePool]:
    workers = DecodePool(1, 7 * 32 * 32 * 3, timeout=DEADLOCK, max_pixels=1_000_000)
    await workers.start()
    yield workers
    workers.close()


def drawn() -> Image.Image:
    noise = np.random.default_rng(5).integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((WIDTH, HEIGHT))


def exif(orientation: int = 1) -> Image.Exif:
    """As a telephone writes it: texts, fractions, a maker's block, a place, in directories of their own."""
    written = Image.Exif()
    written[0x010F], written[0x0110], written[0x0112] = "Maker", "Telephone 9 Pro", orientation
    written[0x011A], written[0x011B], written[0x0128] = 72.0, 72.0, 2
    written.get_ifd(0x8769).update(
        {0x829A: 0.008, 0x8827: 64, 0x9003: "2026:11:21 12:00:00", 0x927C: b"maker\0" * 40, 0xA001: 65535}
    )
    written.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 14.5), 3: "E", 4: (11.0, 34.0, 31.2)})
    return written


def saved(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    drawn().save(file, kind, **options)
    return file.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def photograph(*segments: bytes, orientation: int = 1) -> bytes:
    """A JPEG without JFIF's segment: EXIF comes first, as from a camera."""
    data = saved("JPEG", quality=92)
    # after SOI comes JFIF's APP0, 16 bytes and its marker
    assert data[2:4] == b"\xff\xe0"
    app1 = segment(0xE1, b"Exif\0\0" + exif(orientation).tobytes().removeprefix(b"Exif\0\0"))
    return data[:2] + app1 + b"".join(segments) + data[20:]


def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def png_with(*, orientation: int = 1, **texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "plain")
    info.add_text("Comment", "packed " * 99, zip=True)
    info.add_itxt("XML:com.adobe.xmp", XMP.decode(), zip=False)
    info.add_itxt("Author", "Zoë", lang="en", tkey="Autorin", zip=True)
    return saved("PNG", pnginfo=info, exif=exif(orientation), icc_profile=profile(), dpi=(300, 300))


MPF = segment(0xE2, b"MPF\0II*\0\x08\0\0\0\0\0\0\0\0\0")
PHOTOSHOP = segment(
    0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x05hello\0" + b"8BIM\x03\xed\0\0\0\0\0\x10" + bytes(16)
)
FILES: dict[str, Callable[[], bytes]] = {
    "JPEG of a camera": photograph,
    "JPEG of a camera held upright": lambda: photograph(orientation=6),
    "JPEG with XMP": lambda: photograph(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)),
    "JPEG with a profile": lambda: photograph(segment(0xE2, b"ICC_PROFILE\0\x01\x01" + profile())),
    "JPEG with a second picture": lambda: photograph(MPF),
    "JPEG of an editor": lambda: photograph(PHOTOSHOP, segment(0xFE, b"edited \xff here")),
    "JPEG with Adobe's mark": lambda: photograph(segment(0xEE, b"Adobe\0\x64\0\0\0\0\x01")),
    "JPEG with a broken EXIF": lambda: photograph(segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")),
    "JPEG with both": lambda: saved(
        "JPEG", exif=exif(), icc_profile=profile(), dpi=(72, 72), comment=b"hello"
    ),
    "progressive JPEG": lambda: saved("JPEG", exif=exif(), progressive=True, xmp=XMP),
    "PNG of an editor": png_with,
    "PNG turned": lambda: png_with(orientation=8),
    "WEBP of a telephone": lambda: saved("WEBP", exif=exif(3), icc_profile=profile(), xmp=XMP),
    "GIF with a comment": lambda: saved("GIF", comment=b"made by hand", loop=0),
}


def shown(data: bytes) -> np.ndarray:
    """By Pillow, outside any sandbox."""
    # it warns of a list of pictures that it cannot read
    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as image:
        upright: Image.Image = ImageOps.exif_transpose(image)
        return np.array(upright.convert("RGB"))


@pytest.mark.parametrize("name", FILES)
async def test_pictures_with_all_that_lies_beside_them_are_cut_as_they_are_shown(
    name: str, pool: DecodePool
) -> None:
    data = FILES[name]()
    kind = ImageFormat["JPEG" if "JPEG" in name else name.split()[0]]
    pixels = shown(data)
    image = ImageBytes(data, kind, pixels.shape[1], pixels.shape[0], source="data")
    expected = cut(torch.from_numpy(pixels), VIEWS)
    for ours, theirs in zip(await pool.tiles(image, VIEWS, "messages[0]"), expected, strict=True):
        assert np.array_equal(ours, theirs.numpy())

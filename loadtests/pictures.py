"""Images as users send them, and as attackers do. Deterministic: a seed always gives the same bytes.

*Scenes* come from the embedded model's world, enlarged to the sizes of screens and cameras, so that what they show is
known. *Photos* are noise with the spectrum of photographs (power falls with the square of the frequency), for any other
model: they cost as much as photographs. All images are generated before the load begins; `fresh` changes an image's
bytes during the run without touching its pixels.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from demo.world import Scene, draw_scene, scene_seed

HUGE_PIXELS = 24_000_000
QUALITIES = (70, 75, 80, 85, 90, 95)
ENLARGED = (1, 1, 2, 3, 4)
"""Factors by which scenes (112 to 448 pixels on the longer side) are enlarged."""
PHOTO_SIZES = (
    (640, 480),
    (1024, 768),
    (1280, 720),
    (1080, 1080),
    (1920, 1080),
    (1080, 1920),
    (1170, 2532),
    (2048, 1536),
    (3024, 4032),
    (4000, 3000),
)
_COMMENT = b"\xff\xfe"


def rng_of(seed: int, *place: int) -> np.random.Generator:
    return np.random.default_rng((0x10AD, seed, *place))


def jpeg(picture: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def scene(seed: int, index: int) -> tuple[Scene, bytes]:
    """Scene number `index`, and a JPEG of it with its own size and quality."""
    shown, picture = draw_scene(scene_seed("test", seed, index), "shapes")
    rng = rng_of(seed, index)
    times = ENLARGED[rng.integers(len(ENLARGED))]
    if times > 1:
        picture = picture.resize((times * picture.width, times * picture.height), Image.Resampling.BICUBIC)
    return shown, jpeg(picture, QUALITIES[rng.integers(len(QUALITIES))])


def huge_scene(seed: int, index: int) -> tuple[Scene, bytes]:
    """A scene enlarged to about 24 megapixels, with its aspect ratio."""
    shown, picture = draw_scene(scene_seed("test", seed, index), "shapes")
    times = (HUGE_PIXELS / (picture.width * picture.height)) ** 0.5
    size = (round(times * picture.width), round(times * picture.height))
    return shown, jpeg(picture.resize(size, Image.Resampling.BILINEAR), 85)


def photo(seed: int, index: int, size: tuple[int, int] | None = None) -> bytes:
    """A JPEG of photograph-like noise, in one of `PHOTO_SIZES` unless `size` is given."""
    rng = rng_of(seed, index, 1)
    width, height = size or PHOTO_SIZES[rng.integers(len(PHOTO_SIZES))]
    coarse = _spectral(rng, 512)
    picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    # sensor noise: without it an enlarged picture compresses far better than one from a camera
    grain = rng.integers(-6, 7, (height, width), dtype=np.int8)
    pixels = np.asarray(picture, np.int16)
    pixels = np.clip(pixels + grain[:, :, None], 0, 255).astype(np.uint8)
    return jpeg(Image.fromarray(pixels), QUALITIES[rng.integers(len(QUALITIES))])


def huge_photo(seed: int, index: int) -> bytes:
    return photo(seed, index, (6000, 4000))


def _spectral(rng: np.random.Generator, side: int) -> np.ndarray:
    """uint8 [side, side, 3]: amplitudes fall with the frequency, phases are random, channels are correlated."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = 1.0
    planes = []
    for _ in range(4):
        phase = np.exp(2j * np.pi * rng.random(frequency.shape))
        plane = np.fft.irfft2(phase / frequency, s=(side, side))
        planes.append((plane - plane.mean()) / plane.std())
    shared, *own = planes
    channels = [128 + 48 * (0.85 * shared + 0.5 * each) for each in own]
    return np.clip(np.stack(channels, axis=-1), 0, 255).astype(np.uint8)


def fresh(image: bytes, nonce: bytes) -> bytes:
    """The same JPEG with a comment added: the same pixels in different bytes, so a new image to any cache.

    Raises ValueError for anything but a JPEG, and for a nonce that is too long for a comment.
    """
    if not image.startswith(b"\xff\xd8\xff"):
        raise ValueError("only a JPEG can be made fresh")
    if len(nonce) > 0xFFFD:
        raise ValueError(f"the nonce has {len(nonce)} bytes; a comment has room for {0xFFFD}")
    return image[:2] + _COMMENT + struct.pack(">H", len(nonce) + 2) + nonce + image[2:]


def broken(seed: int) -> dict[str, tuple[bytes, tuple[str, ...]]]:
    """Name → bytes that no service may accept as an image, and the codes with which Patchbay refuses them."""
    rng = rng_of(seed, 2)
    whole = jpeg(Image.fromarray(rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)), 85)
    unsupported = ("unsupported_image_format",)
    return {
        "truncated": (whole[: len(whole) // 2], ("invalid_image",)),
        "wrong magic": (b"\x00" + rng.bytes(2047), unsupported),
        "bomb": (_bomb(60_000, 60_000), ("image_too_large",)),
        "empty": (b"", unsupported),
        "svg": (
            b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9"/></svg>',
            unsupported,
        ),
    }


def _bomb(width: int, height: int) -> bytes:
    """A PNG of a hundred bytes that claims to have `width` × `height` pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1024))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")

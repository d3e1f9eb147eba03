"""Bytes to ImageBytes: format from the magic bytes, size from the header, limits enforced. Nothing is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

from service.domain import ImageBytes
from service.errors import (
    ImageTooLarge,
    ImageTooNarrow,
    ImageTooSmall,
    InvalidImage,
    UnsupportedImageFormat,
)
from service.image_header import UnsupportedKind, read_header, sniff

_ALLOWED = "JPEG, PNG, WebP and GIF are accepted"
_REFUSED_MAGIC = (
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphe", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (4, b"ftypmsf1", "HEIF"),
    (4, b"ftyp", "a video, or another file of that container"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x01\x00", "ICO"),
    (0, b"8BPS", "PSD"),
    (0, b"%!PS", "PostScript"),
    (0, b"BM", "BMP"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"%PDF", "PDF"),
    (0, b"<", "markup, such as SVG or an HTML page"),
    (0, b"{", "JSON"),
    (0, b"data:", "a data URL within a data URL"),
    *(
        (0, begin, "base64 text, as if encoded twice")
        for begin in (b"/9j/", b"iVBORw0KGgo", b"UklGR", b"R0lGOD")
    ),
)


_LONGEST_MAGIC = max(12, *(offset + len(magic) for offset, magic, _ in _REFUSED_MAGIC))


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Limits on one encoded image; sides in pixels, as displayed."""

    max_bytes: int = 20 * 1024**2
    max_pixels: int = 50_000_000
    min_side: int = 1
    max_side: int = 65_535
    """With longer sides the coefficients of a resize filter would take gigabytes; no camera produces such images."""
    max_ratio: float = inf
    """Ratio of the longer side to the shorter one."""


def probe(data: bytes, *, source: Literal["data", "url"], limits: ImageLimits, path: str) -> ImageBytes:
    """The same bytes, with their format and displayed size.

    Raises UnsupportedImageFormat (also for kinds of the four formats that no decoder here knows), InvalidImage (broken
    header), ImageTooLarge, ImageTooSmall and ImageTooNarrow, all with `path`.
    """
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(
            f"The image has {len(data)} bytes; at most {limits.max_bytes} are allowed (max_image_bytes).",
            param=path,
        )
    if sniff(data) is None:
        raise UnsupportedImageFormat(f"The image is {_received(data)}; {_ALLOWED}.", param=path)
    try:
        header = read_header(data)
    except UnsupportedKind as error:
        raise UnsupportedImageFormat(f"The image is {error}.", param=path) from None
    except ValueError as error:
        raise InvalidImage(f"The image's header is broken or incomplete: {error}.", param=path) from None
    _check_size(header.width, header.height, limits, path)
    return ImageBytes(data, header.format, header.width, header.height, source)


def says_all(data: bytes) -> bool:
    """Whether the beginning of a file says as much of its format and size as all of it would."""
    try:
        return read_header(data).settled
    except UnsupportedKind:
        return True
    except ValueError:
        return len(data) >= _LONGEST_MAGIC and sniff(data) is None


def _received(data: bytes) -> str:
    if not data:
        return "empty (0 bytes)"
    for offset, magic, name in _REFUSED_MAGIC:
        if data.startswith(magic, offset):
            return name
    return "in an unknown format"


def _check_size(width: int, height: int, limits: ImageLimits, path: str) -> None:
    size = f"The image is {width} × {height} pixels"
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            f"{size}; at most {limits.max_pixels} pixels are allowed (max_image_pixels).", param=path
        )
    if max(width, height) > limits.max_side:
        raise ImageTooLarge(f"{size}; no side may be longer than {limits.max_side} pixels.", param=path)
    if min(width, height) < limits.min_side:
        raise ImageTooSmall(
            f"{size}; the model needs at least {limits.min_side} pixels on each side.", param=path
        )
    if max(width, height) > limits.max_ratio * min(width, height):
        raise ImageTooNarrow(
            f"{size}; the model needs the longer side to be at most {limits.max_ratio:g} times the shorter one.",
            param=path,
        )

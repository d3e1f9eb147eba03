"""What an image's header says: format, size, orientation.

Reads headers and never pixels, with the standard library only, in time bounded by a number of segments and not by the
file's length. Gateway and sandboxed decoder both use it, so they cannot disagree about an image. It does not
depend on limits or requests, so that the sandbox need not import them.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.domain import ImageFormat
from service.image_header.fields import UnsupportedKind
from service.image_header.gif import gif
from service.image_header.jpeg import jpeg, jpeg_scans
from service.image_header.orientation import orientation
from service.image_header.png import png
from service.image_header.webp import webp

__all__ = ["ImageHeader", "UnsupportedKind", "jpeg_scans", "read_header", "sniff"]

_READERS = {ImageFormat.JPEG: jpeg, ImageFormat.PNG: png, ImageFormat.WEBP: webp, ImageFormat.GIF: gif}


@dataclass(frozen=True, slots=True)
class ImageHeader:
    format: ImageFormat
    stored_width: int
    """Pixels, as stored in the file."""
    stored_height: int
    orientation: int
    """EXIF's number from 1 to 8: how to rotate and mirror the stored pixels for display; 1 means not at all."""
    settled: bool = True
    """Whether nothing that may follow the data could change this, so that the rest of a file need not be read."""

    @property
    def width(self) -> int:
        """Pixels, as displayed."""
        return self.stored_height if self.orientation >= 5 else self.stored_width

    @property
    def height(self) -> int:
        return self.stored_width if self.orientation >= 5 else self.stored_height


def sniff(data: bytes) -> ImageFormat | None:
    """The format according to the magic bytes; None if it is not one of the four."""
    if data.startswith(b"\xff\xd8\xff"):
        return ImageFormat.JPEG
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return ImageFormat.PNG
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return ImageFormat.WEBP
    if data.startswith((b"GIF87a", b"GIF89a")):
        return ImageFormat.GIF
    return None


def read_header(data: bytes) -> ImageHeader:
    """Size and orientation of an encoded image.

    Raises ValueError when the format is not one of the four, or the header is cut off or contradicts itself; its words
    say what is wrong. UnsupportedKind is one of them: the image is sound, but nothing here can decode it.
    """
    kind = sniff(data)
    if kind is None:
        raise ValueError("not a JPEG, PNG, WebP or GIF")
    found = _READERS[kind](data)
    if found.width < 1 or found.height < 1:
        raise ValueError("a side of the image is zero pixels long")
    turned = orientation(found.exif, found.xmp)
    return ImageHeader(kind, found.width, found.height, turned, found.settled)

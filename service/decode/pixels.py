"""Encoded bytes to RGB pixels, as a viewer would show them: first frame, turned upright, on white.

Pillow decodes, and its pixels count where viewers differ: what a GIF's first frame leaves bare of its screen has the
palette's first colour, or is white where the frame has a transparent one. Orientation and size come from our own header
reader, and a decoder that finds another size is not believed. Runs inside the sandboxed worker.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from service.decode.causes import Cause, Undecodable
from service.decode.storage import make_room, pixels_of
from service.domain import ImageFormat
from service.image_header import jpeg_scans, read_header

Pixels = NDArray[np.uint8]

_MOST_SCANS = 64

# no Image.open: it would try other formats, and load plugins from files that the sandbox cannot open
_READERS: dict[ImageFormat, Callable[[io.BytesIO], ImageFile]] = {
    ImageFormat.JPEG: JpegImageFile,
    ImageFormat.PNG: PngImageFile,
    ImageFormat.WEBP: WebPImageFile,
    ImageFormat.GIF: GifImageFile,
}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → how the stored pixels are turned."""


def decode(data: bytes, width: int, height: int) -> Pixels:
    """uint8 [height, width, 3], or of a large image [height, width, 4], where the fourth byte says nothing; sRGB as
    stored (colour profiles are not applied).

    `width` and `height` are what the header promised, as displayed. Raises ValueError when the bytes do not hold that
    image, and whatever Pillow raises; `causes.cause_of` tells them apart.
    """
    header = read_header(data)
    if (header.width, header.height) != (width, height):
        raise Undecodable(Cause.SIZE, "the header gives another size than was announced")
    if header.format is ImageFormat.JPEG and jpeg_scans(data) > _MOST_SCANS:
        raise Undecodable(Cause.SCANS, "a JPEG of too many scans")
    make_room(width, height)
    with _READERS[header.format](io.BytesIO(data)) as image:
        if image.size != (header.stored_width, header.stored_height):
            raise Undecodable(Cause.SIZE, "the decoder finds another size than the header")
        image.load()
        pixels = to_rgb(image)
    if header.orientation in _UPRIGHT:
        pixels = pixels.transpose(_UPRIGHT[header.orientation])
    if pixels.size != (width, height):
        raise Undecodable(Cause.SIZE, "the decoded image has another size than its header")
    return pixels_of(pixels)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any of Pillow's modes to RGB: transparency composed on white, 16-bit greys to their upper eight bits."""
    if image.mode == "I;16":
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(image, mask=image.getchannel("A"))
        return canvas
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    values: NDArray[np.uint16] = np.asarray(image)
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey

"""A large image's pixels where Pillow has them: no copy, and no new pages for each of them.

Pillow keeps RGB with a fourth byte to each pixel, in blocks of 16 MB, and returns them after each image; NumPy's way to
the pixels copies them three times, into new pages where they are many. Here an image lies in one block, which is kept
for the next one, and a large image is read through Arrow's C interface, as Pillow exports it. A small one is copied:
there the fourth byte costs more when tiles are cut than the copies do.
One thread at a time: Pillow's allocator is the process's. `benchmarks/decode.py` measures it.

Source: https://arrow.apache.org/docs/format/CDataInterface.html
"""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PIXEL_BYTES = 4
LARGE_PIXELS = 8_000_000
"""From here on a copy costs more than the fourth byte; at 6 megapixels they are equal."""
_KEPT_BYTES = 128 * 2**20
"""The largest block that is kept: 33 megapixels."""
_PAGE = 4096
# what the documented variables PILLOW_BLOCK_SIZE and PILLOW_BLOCKS_MAX set once for a process
_allocator = Image.core  # type: ignore[attr-defined]


class _ArrowArray(ctypes.Structure):
    """The beginning of the standard's `struct ArrowArray`."""


_ArrowArray._fields_ = [
    *((name, ctypes.c_int64) for name in ("length", "null_count", "offset", "n_buffers", "n_children")),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_ArrowArray))),
]

_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype = ctypes.c_void_p
_pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)


def make_room(width: int, height: int) -> None:
    """Images of up to this size that Pillow makes from now on lie in one piece."""
    size = width * height * PIXEL_BYTES
    _allocator.set_block_size(-(-size // _PAGE) * _PAGE)
    _allocator.set_blocks_max(int(size <= _KEPT_BYTES))


def pixels_of(image: Image.Image) -> NDArray[np.uint8]:
    """Of an RGB image: uint8 [height, width, 3], or, of a large one, `in_place`. Raises ValueError as that does."""
    return in_place(image) if image.width * image.height >= LARGE_PIXELS else np.asarray(image)


def in_place(image: Image.Image) -> NDArray[np.uint8]:
    """Of an RGB image: uint8 [height, width, 4], its own memory, which lives as long as the array. The fourth byte says
    nothing.

    Raises ValueError for other modes, and when the image does not lie in one piece.
    """
    if image.mode != "RGB":
        raise ValueError(f"the image's mode is {image.mode}, not RGB")
    _, capsule = image.__arrow_c_array__()
    rows = ctypes.cast(_pointer(capsule, b"arrow_array"), ctypes.POINTER(_ArrowArray)).contents
    values = rows.children[0].contents
    shape = image.height, image.width, PIXEL_BYTES
    if values.length != image.height * image.width * PIXEL_BYTES or rows.offset or values.offset:
        raise ValueError("Pillow exports its pixels in another form")
    memory = (ctypes.c_uint8 * values.length).from_address(values.buffers[1])
    # the capsule owns what `memory` only points to
    memory.owner = capsule
    return np.frombuffer(memory, np.uint8).reshape(shape)

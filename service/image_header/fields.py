"""Numbers out of a header, and how much of a file is looked at."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

MOST_SEGMENTS = 4096
"""A 20 MB PNG of 8 KB chunks has 2,500. The limit keeps files of empty segments from blocking the event loop."""
MOST_TEXT = 2**20
"""Bytes of a text, decompressed, in which an orientation is sought: what Pillow decompresses of one, too."""


class Header(NamedTuple):
    """What a format's reader finds."""

    width: int
    """Pixels, as stored."""
    height: int
    exif: bytes | None = None
    xmp: bytes | None = None
    """At most `MOST_TEXT` bytes."""
    settled: bool = True
    """Whether nothing that may follow the data could change the rest."""


class UnsupportedKind(ValueError):
    """A sound image of one of the four formats, of a kind that the decoder does not know. The message names the kind
    and completes `The image is …`."""


def unpack(layout: str, data: bytes, offset: int) -> tuple[Any, ...]:
    """As `struct.unpack_from`. Raises ValueError when the file ends before."""
    try:
        return struct.unpack_from(layout, data, offset)
    except struct.error:
        raise ValueError("the file ends within its header") from None

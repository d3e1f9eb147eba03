"""PNG headers (W3C, third edition): size, and the three chunks in which an orientation may stand.

Which chunks count follows Pillow's reader: all up to IEND, those behind the pixels too, or up to an animation's second
frame; of two with one name the last.
"""

from __future__ import annotations

import zlib

from service.image_header.fields import MOST_SEGMENTS, MOST_TEXT, Header, unpack

_RAW_PROFILE = b"Raw profile type exif"
"""ImageMagick's way to keep EXIF in a text chunk: three lines of head, then hexadecimal digits."""
_XMP = b"XML:com.adobe.xmp"
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})


def png(data: bytes) -> Header:
    """Raises ValueError."""
    length, kind, width, height = unpack(">I4sII", data, 8)
    if kind != b"IHDR" or length != 13:
        raise ValueError("a PNG that does not begin with its header")
    exif, texts, settled = _metadata(data)
    if exif is None and _RAW_PROFILE in texts:
        exif = _raw_profile(_text(data, *texts[_RAW_PROFILE]))
    xmp = _text(data, *texts[_XMP]) if _XMP in texts else None
    return Header(width, height, exif, xmp, settled)


def _metadata(data: bytes) -> tuple[bytes | None, dict[bytes, tuple[bytes, int, int]], bool]:
    """The EXIF block; by keyword the texts that may hold an orientation, still packed: (kind of chunk, start and end of
    what follows the keyword); and whether no other chunk counts."""
    exif = None
    texts: dict[bytes, tuple[bytes, int, int]] = {}
    frames, announced, pixels = 0, False, False
    position = 33
    for _ in range(MOST_SEGMENTS):
        if position + 8 > len(data):
            return exif, texts, False
        length, kind = unpack(">I4s", data, position)
        start, end = position + 8, position + 8 + length
        if kind == b"IEND":
            break
        if kind == b"IDAT":
            pixels = True
        elif kind == b"eXIf":
            exif = b"Exif\0\0" + data[start:end]
        elif kind in _TEXTS:
            for keyword in (_RAW_PROFILE, _XMP):
                if data.startswith(keyword + b"\0", start, end):
                    texts[keyword] = (kind, start + len(keyword) + 1, end)
        elif kind == b"acTL" and not pixels:
            (frames,) = unpack(">I", data, start)
        elif kind == b"fcTL":
            # pixels that no fcTL announced are a picture of their own before the animation
            if pixels and frames and frames + (not announced) > 1:
                break
            announced = announced or not pixels
        position = end + 4
    return exif, texts, True


def _text(data: bytes, kind: bytes, start: int, end: int) -> bytes | None:
    """What follows the keyword, unpacked, its first `MOST_TEXT` bytes; None when it cannot be unpacked."""
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed = data[start : start + 1] != b"\0"
        # language and translated keyword, each with a zero behind it
        start = data.find(b"\0", data.find(b"\0", start + 2, end) + 1, end) + (0 if packed else 1)
    if not packed:
        return data[start : min(end, start + MOST_TEXT)]
    try:
        # one byte before the stream: of zTXt the method, which is always 0
        return zlib.decompressobj().decompress(data[start + 1 : min(end, start + MOST_TEXT)], MOST_TEXT)
    except zlib.error:
        return None


def _raw_profile(text: bytes | None) -> bytes | None:
    try:
        return bytes.fromhex(
            (text or b"").decode("latin-1").partition("\n")[2].partition("\n")[2].partition("\n")[2]
        )
    except ValueError:
        return None

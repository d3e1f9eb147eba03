"""The format of the arena's file: a header, a slot table in columns, and a pool of equal pages.

Like a paged KV cache: an entry is one slot, which names its pages; a page holds `page_rows` rows of soft tokens.
A slot is readable while its generation is even; the writer makes it odd before it changes anything. Leases and
eviction are the store's; this module does no input or output.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

ARENA_VERSION = 1
MAGIC = b"PBARENA\0"
ITEMSIZES = {"float32": 4, "bfloat16": 2, "float16": 2}
MOST_SLOTS = 16384  # a lookup scans one 64-bit column: 128 KiB

_HEADER = np.dtype(
    [
        ("magic", "V8"),
        ("version", "<u4"),
        ("identity", "<u8"),
        ("width", "<u4"),
        ("dtype", "S16"),
        ("page_rows", "<u4"),
        ("pages", "<u4"),
        ("slots", "<u4"),
        ("max_pages", "<u4"),
    ]
)
_HEADER_ROOM = 64
_MOST = 2**31 - 1
_ALIGNMENT = 4096
Bytes = npt.NDArray[np.uint8]


class ArenaMismatch(Exception):
    """The file is not an arena, has another version, or does not contain what its user expects."""


@dataclass(frozen=True, slots=True)
class ArenaSpec:
    """What an arena holds: rows of `width` numbers of `dtype`, in `pages` pages, as at most `slots` entries."""

    width: int
    dtype: str
    page_rows: int
    pages: int
    slots: int
    max_pages: int
    """Pages of the largest entry."""

    def __post_init__(self) -> None:
        if self.dtype not in ITEMSIZES:
            raise ValueError(f"arena dtype is {self.dtype!r}; allowed are {', '.join(ITEMSIZES)}")
        for name in ("width", "page_rows", "pages", "slots", "max_pages"):
            if not 0 < getattr(self, name) <= _MOST:
                raise ValueError(f"arena {name} is {getattr(self, name)}; it must be 1 to {_MOST}")
        if self.max_pages > self.pages:
            raise ValueError(f"the largest entry takes {self.max_pages} pages, the arena has {self.pages}")

    @property
    def promised_tokens(self) -> int:
        """Soft tokens that may be reserved for running requests: half of the arena; the rest is cache."""
        return self.pages * self.page_rows // 2

    def room(self, rows: int) -> int:
        """What an entry of `rows` rows occupies, in rows: whole pages."""
        return -(-rows // self.page_rows) * self.page_rows

    @classmethod
    def for_budget(cls, budget: int, width: int, dtype: str, max_rows: int, page_rows: int = 16) -> ArenaSpec:
        """The arena that fits `budget` bytes and takes entries of up to `max_rows` rows of `width` numbers.

        Raises ValueError when the budget does not hold two of the largest entries.
        """
        max_pages = -(-max_rows // page_rows)
        page = page_rows * cls(width, dtype, page_rows, max_pages, 1, max_pages).row_bytes
        slot = _slot_bytes(max_pages)
        margin = 2 * _ALIGNMENT  # the header, and the pool's alignment
        least = margin + 2 * max_pages * (page + slot)
        if budget < least:
            raise ValueError(
                f"the arena has {budget} bytes; two images of {max_rows} soft tokens, {width} × {dtype} each, "
                f"need {least}"
            )
        pages = (budget - margin) // (page + slot)  # a slot for each page, up to MOST_SLOTS
        if pages > MOST_SLOTS:
            pages = min((budget - margin - MOST_SLOTS * slot) // page, _MOST)
        return cls(width, dtype, page_rows, pages, min(pages, MOST_SLOTS), max_pages)

    @property
    def itemsize(self) -> int:
        return ITEMSIZES[self.dtype]

    @property
    def row_bytes(self) -> int:
        return self.width * self.itemsize

    @property
    def page_bytes(self) -> int:
        return self.page_rows * self.row_bytes

    @property
    def max_rows(self) -> int:
        return self.max_pages * self.page_rows

    @property
    def bytes_needed(self) -> int:
        return self.pool_start + self.pages * self.page_bytes

    @property
    def pool_start(self) -> int:
        """Offset of the first page in the file."""
        table = _HEADER_ROOM + self.slots * _slot_bytes(self.max_pages)
        return _ALIGNMENT * -(-table // _ALIGNMENT)

    def pages_for(self, rows: int) -> int:
        return -(-rows // self.page_rows)


def _slot_bytes(max_pages: int) -> int:
    return 8 + 32 + 4 + 4 * max_pages  # generation, key, rows, pages


class Columns:
    """The arrays of an arena, as views of one buffer; writable if the buffer is."""

    def __init__(self, buffer: mmap.mmap, spec: ArenaSpec) -> None:
        start = _HEADER_ROOM

        def column(dtype: str, *shape: int) -> npt.NDArray[Any]:
            nonlocal start
            array = np.ndarray(shape, dtype, buffer, start)
            start += array.nbytes
            return array

        self.generation: npt.NDArray[np.uint64] = column("<u8", spec.slots)
        # 32 bytes of key as four columns, so that a lookup scans only the first
        self.key: npt.NDArray[np.uint64] = column("<u8", 4, spec.slots)
        self.rows: npt.NDArray[np.uint32] = column("<u4", spec.slots)
        self.pages: npt.NDArray[np.uint32] = column("<u4", spec.slots, spec.max_pages)
        start = spec.pool_start
        self.pool: Bytes = column("u1", spec.pages, spec.page_rows, spec.row_bytes)


def write_header(buffer: mmap.mmap, spec: ArenaSpec, identity: int) -> None:
    """Describes the arena; `identity` distinguishes it from others at the same path."""
    header = np.ndarray((), _HEADER, buffer)
    header["version"], header["identity"] = ARENA_VERSION, identity
    header["width"], header["dtype"] = spec.width, spec.dtype.encode()
    header["page_rows"], header["pages"] = spec.page_rows, spec.pages
    header["slots"], header["max_pages"] = spec.slots, spec.max_pages
    header["magic"] = np.void(MAGIC)


def read_header(data: bytes, path: str) -> tuple[ArenaSpec, int]:
    """The format and the identity of an arena from its first `header_bytes()` bytes. Raises ArenaMismatch."""
    if len(data) < _HEADER.itemsize or data[: len(MAGIC)] != MAGIC:
        raise ArenaMismatch(f"{path} is not an arena of soft tokens")
    header = np.frombuffer(data, _HEADER, count=1)[0]
    if int(header["version"]) != ARENA_VERSION:
        raise ArenaMismatch(
            f"{path} is an arena of version {int(header['version'])}; this program reads version {ARENA_VERSION}"
        )
    sizes = [int(header[name]) for name in ("page_rows", "pages", "slots", "max_pages")]
    try:
        spec = ArenaSpec(int(header["width"]), bytes(header["dtype"]).decode("ascii", "replace"), *sizes)
    except ValueError as error:
        raise ArenaMismatch(f"{path} is a damaged arena: {error}") from None
    return spec, int(header["identity"])


def header_bytes() -> int:
    return int(_HEADER.itemsize)


def key_words(key: str) -> npt.NDArray[np.uint64]:
    """A key of 64 hexadecimal digits as four 64-bit words. Raises ValueError for anything else."""
    try:
        raw = bytes.fromhex(key)
    except ValueError:
        raw = b""
    if len(raw) != 32 or len(key) != 64:
        raise ValueError(f"a content key has 64 hexadecimal digits, not {key!r}")
    return np.frombuffer(raw, "<u8")

"""Memory of the machine from which a GPU copies by itself: what the encoder's batches take of it.

PyTorch's allocator of pinned memory rounds every block up to a power of two and keeps it for the next, so that 302 MB
of rows (64 images of LLaVA-1.5) are 512 MiB.
"""

from __future__ import annotations

RING = 3
"""Chunks whose pixels are staged at once, see `kernels/runner`."""
BATCHES = 2
"""Whose rows are there at once: one's arrive while the last one's are stored in the arena."""


def staged_bytes(chunk_pixels: int, batch_rows: int) -> int:
    """Of a ring of chunks, and one block of rows for each batch; bytes of each."""
    return RING * block(chunk_pixels) + BATCHES * block(batch_rows)


def packed_bytes(batch_pixels: int, batch_rows: int) -> int:
    """Of a batch that is sent at once, whose images have a block of rows each: together less than twice their bytes."""
    return block(batch_pixels) + BATCHES * 2 * batch_rows


def block(size: int) -> int:
    """What PyTorch's allocator takes for so many bytes."""
    return 1 << (size - 1).bit_length() if size else 0

"""How a batch is cut into chunks, and which sizes of chunk get a CUDA graph: arithmetic alone, no torch.

Sizes are in tiles, which all cost the same. Knows nothing of devices.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

CHUNKS = 4
"""A full batch goes in this many: while one is computed, the next is copied in and the last copied out."""
GRAPH_BYTES = 8 * 2**20
"""What a graph of a tower takes beside its tensors: some hundred kernel nodes with their parameters."""


def chunk_tiles(batch_tiles: int) -> int:
    """The most tiles of one chunk, for batches of up to `batch_tiles`."""
    return max(1, -(-batch_tiles // CHUNKS))


def split(tiles: int, most: int) -> list[int]:
    """The chunks of a batch: as few as can be, none above `most`, their sizes at most one apart."""
    count = -(-tiles // most)
    return [tiles // count + (number < tiles % count) for number in range(count)]


def ladder(most: int) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12, 16, 24, … and `most`: padding to the next adds less than half of what is there."""
    rungs, power = {most}, 1
    while power < most:
        rungs |= {power, min(power * 3 // 2, most)}
        power *= 2
    return sorted(rungs)


def rung_for(tiles: int, rungs: Sequence[int]) -> int | None:
    """The smallest of the ascending `rungs` that holds them, or None above the largest."""
    at = bisect_left(rungs, tiles)
    return rungs[at] if at < len(rungs) else None


def graph_bytes(rungs: Sequence[int], tile_bytes: int) -> int:
    """Device memory of graphs for `rungs`, which share one pool: the activations of the largest, and each its own.

    `tile_bytes` is what one tile takes while it is computed.
    """
    return rungs[-1] * tile_bytes + len(rungs) * GRAPH_BYTES if rungs else 0


def choose_rungs(most: int, tile_bytes: int, budget: int) -> tuple[int, ...]:
    """The rungs of `ladder(most)` from 1 on that `budget` bytes hold; none if it does not hold the first.

    Small ones first: launches weigh most where there is least to compute.
    """
    rungs = ladder(most)
    while rungs and graph_bytes(rungs, tile_bytes) > budget:
        rungs.pop()
    return tuple(rungs)

"""CUDA-graph batch sizes: how a batch is cut into chunks, and which sizes of chunk get a graph. No torch.

Sizes are in tiles, which all cost the same.
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


def candidate_sizes(most: int) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12, 16, 24, … and `most`: padding to the next adds less than half of what is there."""
    sizes, power = {most}, 1
    while power < most:
        sizes |= {power, min(power * 3 // 2, most)}
        power *= 2
    return sorted(sizes)


def graph_size_for(tiles: int, graph_sizes: Sequence[int]) -> int | None:
    """The smallest of the ascending sizes that holds them, or None above the largest."""
    at = bisect_left(graph_sizes, tiles)
    return graph_sizes[at] if at < len(graph_sizes) else None


def graph_bytes(graph_sizes: Sequence[int], tile_bytes: int) -> int:
    """Device memory of graphs of these sizes, which share one pool: the activations of the largest, and each its own.

    `tile_bytes` is what one tile takes while it is computed.
    """
    return graph_sizes[-1] * tile_bytes + len(graph_sizes) * GRAPH_BYTES if graph_sizes else 0


def choose_graph_sizes(most: int, tile_bytes: int, budget: int) -> tuple[int, ...]:
    """The sizes of `candidate_sizes(most)` from 1 on that `budget` bytes hold; none if it does not hold the first.

    Small ones first: launches weigh most where there is least to compute.
    """
    graph_sizes = candidate_sizes(most)
    while graph_sizes and graph_bytes(graph_sizes, tile_bytes) > budget:
        graph_sizes.pop()
    return tuple(graph_sizes)

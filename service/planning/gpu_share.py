"""Which fraction of its GPUs' memory an engine gets, and the words for GPUs and sizes in the plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from service.errors import ConfigurationError
from service.planning.visible_gpu import GPU

CUDA_CONTEXT_BYTES = 700 * 1024**2
"""What a CUDA process allocates before its first tensor (H100 class, driver 5xx: 500–700 MB)."""
MOST = 0.95
"""Of a GPU's memory, whatever is free."""


@dataclass(frozen=True, slots=True)
class Room:
    """A GPU of the engine's."""

    gpu: GPU
    free_bytes: int
    """What the engine and its CUDA context may have of it."""
    encoder_bytes: int = 0
    """What the encoder takes of it."""


def engine_share(rooms: Sequence[Room], asked: float | None, least: int) -> float:
    """The fraction for vLLM, which takes the same of each GPU: the smallest that one of them allows, unless `asked`.

    `least`: bytes that a rank needs. Raises ConfigurationError when it does not get them, or when `asked` is too much.
    """
    tight = min(rooms, key=lambda room: room.free_bytes / room.gpu.memory_bytes)
    left = max(0, tight.free_bytes - CUDA_CONTEXT_BYTES) / tight.gpu.memory_bytes
    share = asked or math.floor(1000 * min(MOST, left)) / 1000
    smallest = min(room.gpu.memory_bytes for room in rooms)
    if share * smallest < least:
        raise ConfigurationError(
            f"{gpu_words(tight.gpu)}: {_encoder_takes(tight)} the engine {size_words(round(share * smallest))}, but it "
            f"needs {size_words(least)}{' on each of its GPUs' if len(rooms) > 1 else ''}: {_remedies(tight)}"
        )
    for room in rooms:
        if share * room.gpu.memory_bytes > room.free_bytes:
            raise ConfigurationError(
                f"gpu_memory_utilization ({share}) of {gpu_words(room.gpu)} {_excess(room)}"
            )
    return share


def _encoder_takes(room: Room) -> str:
    if not room.encoder_bytes:
        return "that leaves"
    return f"the encoder takes {size_words(room.encoder_bytes)}, which leaves"


def _remedies(room: Room) -> str:
    smaller = "lower encoder_batch_patches or encoder_graph_bytes, " if room.encoder_bytes else ""
    return f"{smaller}raise tensor_parallel_size to divide the model among more GPUs, or use a larger GPU"


def _excess(room: Room) -> str:
    words = gpu_words(room.gpu)
    if not room.encoder_bytes:
        return f"is more than is free, where {words}: lower it"
    return (
        f"of {words} leaves the encoder less than the {size_words(room.encoder_bytes)} that it needs: lower "
        "gpu_memory_utilization or encoder_batch_patches"
    )


def gpu_words(gpu: GPU) -> str:
    """The GPU, its memory, and how much of it others hold if that is noticeable."""
    words = f"{gpu.name} has {size_words(gpu.memory_bytes)}"
    if gpu.unified:
        return f"{words}, the machine's own, of which {size_words(gpu.free_bytes)} are free"
    held = gpu.memory_bytes - gpu.free_bytes
    return (
        f"{words}, of which other processes hold {size_words(held)}"
        if held > gpu.memory_bytes // 20
        else words
    )


def size_words(count: int) -> str:
    return f"{count / 1024**3:.1f} GiB" if count >= 1024**3 else f"{count / 1024**2:.0f} MiB"

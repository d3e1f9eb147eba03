"""runner: batches of uint8 tiles from the host through a GPU and back, copies beside the compute, launches as graphs.

`graph_sizes.py` says how a batch is cut and which batch sizes get a CUDA graph, `runner.py` in which order copies and
compute wait for each other, `device.py` what it needs of a device and how CUDA does it, `README.md` why.
"""

from __future__ import annotations

from kernels.runner.attention import ATTENTIONS, Attention, attend
from kernels.runner.device import Cuda, Device
from kernels.runner.graph_sizes import (
    candidate_sizes,
    choose_graph_sizes,
    chunk_tiles,
    graph_bytes,
    graph_size_for,
    split,
)
from kernels.runner.runner import CaptureFailed, Forward, HostBatch, Runner, TileShape

__all__ = [
    "ATTENTIONS",
    "Attention",
    "CaptureFailed",
    "Cuda",
    "Device",
    "TileShape",
    "Forward",
    "HostBatch",
    "Runner",
    "attend",
    "choose_graph_sizes",
    "chunk_tiles",
    "graph_bytes",
    "candidate_sizes",
    "graph_size_for",
    "split",
]

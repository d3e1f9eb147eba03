"""runner: batches of uint8 tiles from the host through a GPU and back, copies beside the compute, launches as graphs.

`rungs.py` says how a batch is cut and which sizes get a CUDA graph, `runner.py` in which order copies and compute wait
for each other, `device.py` what it needs of a device and how CUDA does it, `README.md` why.
"""

from __future__ import annotations

from kernels.runner.attention import ATTENTIONS, Attention, attend
from kernels.runner.device import Cuda, Device
from kernels.runner.rungs import choose_rungs, chunk_tiles, graph_bytes, ladder, rung_for, split
from kernels.runner.runner import CaptureFailed, Form, Forward, Landed, Runner

__all__ = [
    "ATTENTIONS",
    "Attention",
    "CaptureFailed",
    "Cuda",
    "Device",
    "Form",
    "Forward",
    "Landed",
    "Runner",
    "attend",
    "choose_rungs",
    "chunk_tiles",
    "graph_bytes",
    "ladder",
    "rung_for",
    "split",
]

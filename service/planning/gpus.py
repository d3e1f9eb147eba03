"""GPUs by name, from NVIDIA's data sheets; the GPU in this machine is read by `visible_gpu.py`.

Memory is what `nvidia-smi` reports as total. Peaks are dense bfloat16 on tensor cores, without sparsity, and memory
bandwidth: physical limits, not what a model reaches.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.errors import ConfigurationError
from service.planning.visible_gpu import GPU

MIB = 1024**2


@dataclass(frozen=True, slots=True)
class DataSheet:
    gpu: GPU
    flops: float
    """Dense bfloat16, per second."""
    bandwidth: float
    """Bytes per second."""


def _sheet(name: str, mebibytes: int, teraflops: float, terabytes: float) -> DataSheet:
    memory = mebibytes * MIB
    return DataSheet(GPU(f"NVIDIA {name}", memory, memory), teraflops * 1e12, terabytes * 1e12)


DATA_SHEETS: dict[str, DataSheet] = {
    "b200": _sheet("B200", 183_359, 2250, 8.0),
    "h200": _sheet("H200", 143_771, 989, 4.8),
    "h100": _sheet("H100 SXM", 81_559, 989, 3.35),
    "h100-pcie": _sheet("H100 PCIe", 81_559, 756, 2.0),
    "a100-80": _sheet("A100 SXM 80GB", 81_920, 312, 2.039),
    "a100-40": _sheet("A100 SXM 40GB", 40_960, 312, 1.555),
    "l40s": _sheet("L40S", 46_068, 362, 0.864),
    "a10g": _sheet("A10G", 23_028, 70, 0.6),
    "l4": _sheet("L4", 23_034, 121, 0.3),
    "rtx4090": _sheet("GeForce RTX 4090", 24_564, 165, 1.008),
}


def data_sheet(name: str) -> DataSheet:
    """Raises ConfigurationError, which lists the known names."""
    try:
        return DATA_SHEETS[name.lower()]
    except KeyError:
        raise ConfigurationError(f"gpu: got {name!r}; known GPUs are {', '.join(DATA_SHEETS)}") from None

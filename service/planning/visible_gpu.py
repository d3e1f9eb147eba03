"""The GPUs, or the slice of one, that CUDA will see in this process and in its children, in CUDA's order.

CUDA_VISIBLE_DEVICES names them by index, by UUID or the beginning of one, or by the UUID of a slice (MIG); without it,
all are seen, but of slices one alone. Rules: CUDA C++ programming guide, "CUDA Environment Variables"; NVIDIA MIG user
guide, "CUDA Visible Devices".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service.planning.nvml import (
    DRIVER_NOT_LOADED,
    NO_PERMISSION,
    NOT_SUPPORTED,
    Device,
    Library,
    NvmlError,
    opened,
)

VISIBLE = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"


@dataclass(frozen=True, slots=True)
class GPU:
    name: str
    memory_bytes: int
    free_bytes: int
    """What no process holds at the moment."""
    unified: bool = False
    """Whether it computes in the machine's own memory, which it shares with every process (GB10, Jetson)."""


class UnusableGPU(Exception):
    """There is a GPU, but no plan can be made with it; the text says why and what helps."""


def visible_gpus(
    library: Library | None, environment: Mapping[str, str], meminfo: Path = Path("/proc/meminfo")
) -> tuple[GPU, ...]:
    """Those that this process sees, in CUDA's order. Raises UnusableGPU."""
    named = environment.get(VISIBLE)
    if library is None or (named is not None and _names(named)[0] in ("", "-1")):
        return ()
    try:
        with opened(library) as nvml:
            return tuple(_seen(nvml.devices(), named, environment.get(ORDER), meminfo))
    except NvmlError as error:
        if error.code == DRIVER_NOT_LOADED:
            return ()
        raise UnusableGPU(f"NVIDIA's driver does not say what its GPU has: {error}") from None


def _names(named: str) -> list[str]:
    return [name.strip() for name in named.split(",")]


def _seen(present: list[Device], named: str | None, order: str | None, meminfo: Path) -> list[GPU]:
    """Up to the first name that is wrong, as CUDA does, but for the very first. A slice is alone."""
    names = [str(index) for index in range(len(present))] if named is None else _names(named)
    seen: list[GPU] = []
    for name in names if present else []:
        try:
            device, whole = _device(present, name, named, order)
            if whole or not seen:
                seen.append(_described(device, meminfo))
        except UnusableGPU:
            if not seen:
                raise
            break
        if not whole:
            break
    return seen


def _device(present: list[Device], name: str, named: str | None, order: str | None) -> tuple[Device, bool]:
    """The one of that name, and whether it is a whole GPU."""
    if name.isdecimal():
        return _by_index(present, int(name), order)
    if name.startswith("GPU-"):
        for device in present:
            if device.uuid().startswith(name):
                return _whole_or_slice(device)
    elif name.startswith("MIG-"):
        for device in present:
            for part in device.slices() if device.partitioned() else []:
                if part.uuid().startswith(name):
                    return part, False
    raise UnusableGPU(
        f"{VISIBLE}={named} names no GPU of this machine: allowed are an index below {len(present)}, and the UUIDs "
        "that nvidia-smi -L lists"
    )


def _by_index(devices: list[Device], index: int, order: str | None) -> tuple[Device, bool]:
    """NVML counts by PCI address; CUDA does so only when it is told to, and else begins with the fastest."""
    if index >= len(devices):
        raise UnusableGPU(
            f"{VISIBLE}: got index {index}; allowed is 0 to {len(devices) - 1}, as there are {len(devices)} GPU(s)"
        )
    kinds = sorted({device.name() for device in devices})
    if len(kinds) > 1 and order != "PCI_BUS_ID":
        raise UnusableGPU(
            f"this machine's GPUs differ ({', '.join(kinds)}), and CUDA counts from the fastest: set "
            f"{ORDER}=PCI_BUS_ID, or name one in {VISIBLE} by its UUID, which nvidia-smi -L lists"
        )
    return _whole_or_slice(devices[index])


def _whole_or_slice(device: Device) -> tuple[Device, bool]:
    """Of a partitioned GPU, CUDA sees the first slice only. True: it is whole."""
    if not device.partitioned():
        return device, True
    slices = device.slices()
    if not slices:
        raise UnusableGPU(
            f"{device.name()} is partitioned (MIG), but this process sees none of its slices: request one, such as "
            f"nvidia.com/mig-3g.40gb, or name one in {VISIBLE}"
        )
    return slices[0], False


def _described(device: Device, meminfo: Path) -> GPU:
    name = device.name()
    try:
        total, free = device.memory()
    except NvmlError as error:
        if error.code == NO_PERMISSION:
            raise UnusableGPU(
                f"{name} does not let this process read its memory ({error}): of a partitioned GPU (MIG), name a slice "
                f"in {VISIBLE} by its UUID, which nvidia-smi -L lists"
            ) from None
        if error.code != NOT_SUPPORTED:
            raise
        total = free = 0
    if total:
        return GPU(name, total, free)
    if " MIG " in name:
        raise UnusableGPU(f"{name} does not say how much memory it has: a newer driver is needed")
    return GPU(name, *_system_memory(meminfo), unified=True)


def _system_memory(meminfo: Path) -> tuple[int, int]:
    """(total, available) bytes, as the kernel counts them."""
    lines = (line.split(":") for line in meminfo.read_text().splitlines())
    kibibytes = {name: int(rest.split()[0]) for name, rest in lines}
    return kibibytes["MemTotal"] * 1024, kibibytes["MemAvailable"] * 1024

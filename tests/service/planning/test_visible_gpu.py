"""The probe, against a library in NVML's place: C functions made of Python ones, called through ctypes like its own."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, c_int, c_uint, c_ulonglong, c_void_p
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from service.planning import nvml
from service.planning.machine import inspect
from service.planning.nvml import DRIVER_NOT_LOADED, NO_PERMISSION, NOT_FOUND, NOT_SUPPORTED
from service.planning.visible_gpu import GPU, UnusableGPU, visible_gpus

GIB = 1024**3
DRIVER_MISMATCH = 18
TEXTS = {
    NOT_SUPPORTED: b"Not Supported",
    NO_PERMISSION: b"Insufficient Permissions",
    DRIVER_MISMATCH: b"mismatch",
}


@dataclass
class Card:
    """A device as the library knows it; a slice that is None is an empty place, or somebody else's."""

    uuid: str
    name: str = "NVIDIA H100 80GB HBM3"
    total: int = 80 * GIB
    free: int = 79 * GIB
    memory_code: int = 0
    mig_code: int = 0
    slices: list[Card | None] = field(default_factory=list)


class FakeNvml:
    """`handles` are high addresses, which a call that takes them for 32-bit numbers would lose."""

    def __init__(self, cards: list[Card], init_code: int = 0) -> None:
        self._cards, self._init_code = cards, init_code
        self._handles: dict[int, Card] = {}
        self.open = 0
        for name, arguments in {
            "nvmlInit_v2": (),
            "nvmlShutdown": (),
            "nvmlDeviceGetCount_v2": (POINTER(c_uint),),
            "nvmlDeviceGetHandleByIndex_v2": (c_uint, POINTER(c_void_p)),
            "nvmlDeviceGetName": (c_void_p, POINTER(ctypes.c_char), c_uint),
            "nvmlDeviceGetUUID": (c_void_p, POINTER(ctypes.c_char), c_uint),
            "nvmlDeviceGetMemoryInfo": (c_void_p, c_void_p),
            "nvmlDeviceGetMigMode": (c_void_p, POINTER(c_uint), POINTER(c_uint)),
            "nvmlDeviceGetMaxMigDeviceCount": (c_void_p, POINTER(c_uint)),
            "nvmlDeviceGetMigDeviceHandleByIndex": (c_void_p, c_uint, POINTER(c_void_p)),
        }.items():
            answer: Callable[..., int] = getattr(self, f"_{name}")
            setattr(self, name, CFUNCTYPE(c_int, *arguments)(answer))
        self._texts = {code: ctypes.create_string_buffer(text) for code, text in TEXTS.items()}
        self._unknown = ctypes.create_string_buffer(b"Unknown Error")
        self.nvmlErrorString = CFUNCTYPE(c_void_p, c_int)(self._nvmlErrorString)

    def _handle(self, card: Card) -> int:
        handle = 0x7F00_0000_0000 + 0x1_0000_0000 * len(self._handles)
        self._handles[handle] = card
        return handle

    def _nvmlErrorString(self, code: int) -> int:
        return ctypes.addressof(self._texts.get(code, self._unknown))

    def _nvmlInit_v2(self) -> int:
        self.open += not self._init_code
        return self._init_code

    def _nvmlShutdown(self) -> int:
        self.open -= 1
        return 0

    def _nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count[0] = len(self._cards)
        return 0

    def _nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: Any) -> int:
        handle[0] = self._handle(self._cards[index])
        return 0

    def _nvmlDeviceGetName(self, handle: int, text: Any, length: int) -> int:
        return self._write(self._handles[handle].name, text, length)

    def _nvmlDeviceGetUUID(self, handle: int, text: Any, length: int) -> int:
        return self._write(self._handles[handle].uuid, text, length)

    @staticmethod
    def _write(words: str, text: Any, length: int) -> int:
        for at, byte in enumerate(words.encode()[: length - 1] + b"\0"):
            text[at] = byte
        return 0

    def _nvmlDeviceGetMemoryInfo(self, handle: int, memory: Any) -> int:
        card = self._handles[handle]
        if not card.memory_code:
            numbers = ctypes.cast(memory, POINTER(c_ulonglong))
            numbers[0], numbers[1], numbers[2] = card.total, card.free, card.total - card.free
        return card.memory_code

    def _nvmlDeviceGetMigMode(self, handle: int, current: Any, pending: Any) -> int:
        card = self._handles[handle]
        current[0] = pending[0] = bool(card.slices)
        return card.mig_code

    def _nvmlDeviceGetMaxMigDeviceCount(self, handle: int, count: Any) -> int:
        count[0] = len(self._handles[handle].slices)
        return 0

    def _nvmlDeviceGetMigDeviceHandleByIndex(self, handle: int, index: int, found: Any) -> int:
        part = self._handles[handle].slices[index]
        if part is None:
            return NOT_FOUND
        found[0] = self._handle(part)
        return 0


def part(number: int, **given: Any) -> Card:
    name = "NVIDIA H100 80GB HBM3 MIG 3g.40gb"
    return Card(f"MIG-{number:04}-ffff", name, 40 * GIB, 39 * GIB, mig_code=NOT_SUPPORTED, **given)


PLAIN = [Card("GPU-aaaa-1111", free=79 * GIB), Card("GPU-bbbb-2222", free=3 * GIB)]
# as a container with slices shows it: what the whole has may not be read
SLICED = [
    Card("GPU-cccc-3333"),
    Card("GPU-dddd-4444", memory_code=NO_PERMISSION, slices=[None, part(1), None, part(2)]),
]
MIXED = [Card("GPU-eeee-5555", "NVIDIA T4", 16 * GIB), Card("GPU-ffff-6666")]
IN_NVML = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def seen(cards: list[Card], visible: str | None = None, **environment: str) -> GPU | None:
    """The first."""
    return next(iter(all_seen(cards, visible, **environment)), None)


def all_seen(cards: list[Card], visible: str | None = None, **environment: str) -> tuple[GPU, ...]:
    library = FakeNvml(cards)
    try:
        named = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
        return visible_gpus(library, environment | named)
    finally:
        assert library.open == 0  # whatever happens, it is shut down


@pytest.mark.parametrize(
    ("visible", "free"),
    [
        (None, 79),
        ("0", 79),
        ("1", 3),
        (" 1 , 0", 3),
        ("GPU-bbbb-2222", 3),
        ("GPU-bb", 3),
        ("GPU-aaaa-1111,1", 79),
    ],
)
def test_a_gpu_is_the_one_that_cuda_was_told(visible: str | None, free: int) -> None:
    assert seen(PLAIN, visible) == GPU("NVIDIA H100 80GB HBM3", 80 * GIB, free * GIB)


@pytest.mark.parametrize(
    ("cards", "visible", "free"),
    [
        (PLAIN, None, [79, 3]),
        (PLAIN, "1,0", [3, 79]),
        (PLAIN, "GPU-bb,GPU-aa", [3, 79]),
        (PLAIN, "1", [3]),
        (PLAIN, "1,7,0", [3]),  # as CUDA does, nothing after a name that is wrong
        (PLAIN, "0,-1,1", [79]),
        (SLICED, None, [79]),
        (SLICED, "0,1", [79]),
        (SLICED, "1,0", [39]),
        (SLICED, "MIG-0001,MIG-0002", [39]),
        ([PLAIN[0], Card("GPU-2", memory_code=NO_PERMISSION), PLAIN[1]], None, [79]),
    ],
)
def test_of_several_gpus_the_order_is_cudas(cards: list[Card], visible: str | None, free: list[int]) -> None:
    assert [gpu.free_bytes // GIB for gpu in all_seen(cards, visible)] == free


@pytest.mark.parametrize("visible", ["1", "GPU-dddd-4444", "MIG-0001-ffff", "MIG-0001"])
def test_of_a_partitioned_gpu_it_is_a_slice(visible: str) -> None:
    """And without a slice's name the first, as for CUDA."""
    assert seen(SLICED, visible) == GPU("NVIDIA H100 80GB HBM3 MIG 3g.40gb", 40 * GIB, 39 * GIB)


def test_a_later_slice_is_found_by_its_name() -> None:
    later = Card("GPU-dddd-4444", slices=[part(1), part(2, memory_code=0)])
    later.slices[1] = Card("MIG-0002-ffff", "NVIDIA H100 MIG 1g.10gb", 10 * GIB, 9 * GIB)
    assert seen([later], "MIG-0002-ffff") == GPU("NVIDIA H100 MIG 1g.10gb", 10 * GIB, 9 * GIB)


def test_a_gpu_that_cannot_be_partitioned_is_whole() -> None:
    assert seen([Card("GPU-1", "NVIDIA L4", 23 * GIB, 22 * GIB, mig_code=NOT_SUPPORTED)]) == GPU(
        "NVIDIA L4", 23 * GIB, 22 * GIB
    )


@pytest.mark.parametrize("answer", [{"memory_code": NOT_SUPPORTED}, {"total": 0, "free": 0}])
def test_a_gpu_without_memory_of_its_own_has_the_machines(answer: dict[str, int], tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(
        "MemTotal:       127600748 kB\nMemFree:  1 kB\nMemAvailable:   118566368 kB\nHugePages_Total: 0\n"
    )
    (found,) = visible_gpus(FakeNvml([Card("GPU-1", "NVIDIA GB10", **answer)]), {}, meminfo)
    assert found == GPU("NVIDIA GB10", 127600748 * 1024, 118566368 * 1024, unified=True)


@pytest.mark.parametrize("visible", ["", "-1", "-1,0"])
def test_cuda_may_be_told_to_see_none(visible: str) -> None:
    assert seen(PLAIN, visible) is None


def test_without_a_driver_or_a_card_there_is_none() -> None:
    assert visible_gpus(None, {}) == ()
    assert visible_gpus(FakeNvml(PLAIN, init_code=DRIVER_NOT_LOADED), {}) == ()
    assert seen([]) is None


@pytest.mark.parametrize(
    ("cards", "visible", "words"),
    [
        (PLAIN, "2", ["index 2", "0 to 1", "2 GPU(s)"]),
        (PLAIN, "GPU-cccc", ["CUDA_VISIBLE_DEVICES=GPU-cccc", "below 2", "nvidia-smi -L"]),
        (PLAIN, "MIG-0001", ["CUDA_VISIBLE_DEVICES=MIG-0001"]),
        (PLAIN, "0:1", ["CUDA_VISIBLE_DEVICES=0:1"]),
        (MIXED, None, ["NVIDIA H100 80GB HBM3, NVIDIA T4", "CUDA_DEVICE_ORDER=PCI_BUS_ID", "UUID"]),
        (
            [Card("GPU-1", slices=[None])],
            None,
            ["partitioned (MIG)", "none of its slices", "nvidia.com/mig-"],
        ),
        ([Card("GPU-1", memory_code=NO_PERMISSION)], None, ["Insufficient Permissions", "MIG", "UUID"]),
        ([Card("GPU-1", slices=[part(1, memory_code=NOT_SUPPORTED)])], None, ["MIG 3g.40gb", "newer driver"]),
        ([Card("GPU-1", memory_code=999)], None, ["NVIDIA's driver", "Unknown Error"]),
    ],
)
def test_what_cannot_be_planned_with_is_told_with_what_helps(
    cards: list[Card], visible: str | None, words: list[str]
) -> None:
    with pytest.raises(UnusableGPU) as refused:
        seen(cards, visible)
    assert [word for word in words if word not in str(refused.value)] == []


def test_a_driver_of_another_version_than_the_library_is_told() -> None:
    with pytest.raises(UnusableGPU, match="mismatch"):
        visible_gpus(FakeNvml(PLAIN, init_code=DRIVER_MISMATCH), {})


@pytest.mark.parametrize(("visible", "memory"), [("0", 16), ("1", 80)])
def test_different_gpus_are_counted_as_nvml_does_where_cuda_is_told_to(visible: str, memory: int) -> None:
    found = seen(MIXED, visible, **IN_NVML)
    assert found is not None and found.memory_bytes == memory * GIB
    by_name = seen(MIXED, "GPU-ffff")
    assert by_name is not None and by_name.memory_bytes == 80 * GIB


def test_a_machine_tells_its_gpu_or_what_is_wrong_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setattr(nvml, "load", lambda: FakeNvml(PLAIN))
    machine = inspect(tmp_path)
    assert machine.gpu is not None and machine.gpu.free_bytes == 3 * GIB and machine.gpu_fault == ""
    assert machine.gpus == (machine.gpu,)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert [gpu.free_bytes // GIB for gpu in inspect(tmp_path).gpus] == [3, 79]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setattr(nvml, "load", lambda: FakeNvml(MIXED))
    machine = inspect(tmp_path)
    assert machine.gpu is None and "GPUs differ" in machine.gpu_fault

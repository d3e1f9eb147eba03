"""NVIDIA's management library, as far as the plan needs it: devices, their slices (MIG), names, UUIDs and memory.

The library comes with the driver and is called through ctypes, so that a gateway without PyTorch can ask too, and so
that nothing of CUDA is initialised in this process. Signatures: nvml.h of the NVML API reference.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import byref, c_char_p, c_uint, c_ulonglong, c_void_p
from typing import Any, Protocol

LIBRARY = "libnvidia-ml.so.1"

NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, DRIVER_NOT_LOADED = 3, 4, 6, 9
"""Return codes that mean something else than a failure."""
TEXT_BYTES = 96
"""NVML's own size of the longest name and UUID."""


class Library(Protocol):
    """The loaded library: functions by their C names, which return a code."""

    def __getattr__(self, name: str) -> Any: ...


class NvmlError(Exception):
    """A call that failed; the text is NVML's own."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class _Memory(ctypes.Structure):
    _fields_ = [("total", c_ulonglong), ("free", c_ulonglong), ("used", c_ulonglong)]


class Device:
    """A GPU or a slice of one."""

    def __init__(self, nvml: Nvml, handle: c_void_p) -> None:
        self._nvml, self._handle = nvml, handle

    def name(self) -> str:
        """Such as "NVIDIA L4", or "NVIDIA A100-SXM4-40GB MIG 3g.20gb". Raises NvmlError."""
        return self._text("nvmlDeviceGetName")

    def uuid(self) -> str:
        """`GPU-…` or `MIG-…`. Raises NvmlError."""
        return self._text("nvmlDeviceGetUUID")

    def memory(self) -> tuple[int, int]:
        """(total, free) bytes. Raises NvmlError: NOT_SUPPORTED where the GPU has no memory of its own."""
        memory = _Memory()
        self._nvml.call("nvmlDeviceGetMemoryInfo", self._handle, byref(memory))
        return memory.total, memory.free

    def partitioned(self) -> bool:
        """Whether programs see slices of it only. Raises NvmlError."""
        current, pending = c_uint(), c_uint()
        try:
            self._nvml.call("nvmlDeviceGetMigMode", self._handle, byref(current), byref(pending))
        except NvmlError as error:
            if error.code == NOT_SUPPORTED:
                return False
            raise
        return bool(current.value)

    def slices(self) -> list[Device]:
        """Those that this process may use. Raises NvmlError."""
        count, found = c_uint(), []
        self._nvml.call("nvmlDeviceGetMaxMigDeviceCount", self._handle, byref(count))
        for index in range(count.value):
            handle = c_void_p()
            try:
                self._nvml.call(
                    "nvmlDeviceGetMigDeviceHandleByIndex", self._handle, c_uint(index), byref(handle)
                )
            except NvmlError as error:
                if error.code in (NOT_FOUND, NO_PERMISSION):
                    continue  # places where no slice is, or one that is somebody else's
                raise
            found.append(Device(self._nvml, handle))
        return found

    def _text(self, function: str) -> str:
        buffer = ctypes.create_string_buffer(TEXT_BYTES)
        self._nvml.call(function, self._handle, buffer, c_uint(TEXT_BYTES))
        return buffer.value.decode(errors="replace")


class Nvml:
    """An initialised library."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def devices(self) -> list[Device]:
        """GPUs in the order of their PCI addresses. Raises NvmlError."""
        count, found = c_uint(), []
        self.call("nvmlDeviceGetCount_v2", byref(count))
        for index in range(count.value):
            handle = c_void_p()
            self.call("nvmlDeviceGetHandleByIndex_v2", c_uint(index), byref(handle))
            found.append(Device(self, handle))
        return found

    def call(self, function: str, *arguments: Any) -> None:
        """Raises NvmlError when the function returns anything but success."""
        code = getattr(self._library, function)(*arguments)
        if code:
            describe = self._library.nvmlErrorString
            describe.restype = c_char_p
            raise NvmlError(code, (describe(code) or b"error").decode(errors="replace"))


def load() -> Library | None:
    """None where there is no driver."""
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError:
        return None


@contextmanager
def opened(library: Library) -> Iterator[Nvml]:
    """Initialises the library, and shuts it down at the end. Raises NvmlError."""
    nvml = Nvml(library)
    nvml.call("nvmlInit_v2")
    try:
        yield nvml
    finally:
        nvml.call("nvmlShutdown")

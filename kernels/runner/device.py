"""What the runner needs of a device: memory, streams that keep their order, events between them, and captured calls.

`Cuda` is the one that there is; the tests have others, which do as little in the order of the program as they may.
"""
# torch leaves its streams and events without annotations
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

Call = Callable[[], None]

WARM_UP = 3
"""Calls before a capture: Triton compiles, libraries find their algorithms and take their workspaces."""


class Event(Protocol):
    """A place in a stream."""

    def wait(self) -> None:
        """The host waits until the stream has come there."""
        ...


class Stream(Protocol):
    """Work in the order in which it was given, beside the host and beside other streams."""

    def run(self, call: Call) -> None:
        """What `call` launches goes into this stream."""
        ...

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """Between pinned and device memory, without the host's waiting."""
        ...

    def wait(self, event: Event) -> None:
        """What follows here runs after the event; the host does not wait."""
        ...

    def record(self) -> Event:
        """After all that was given so far."""
        ...


class Device(Protocol):
    def stream(self) -> Stream: ...

    def pinned(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """Host memory that the device copies from and to by itself; taken from a pool, and given back when dropped."""
        ...

    def zeros(self, *shape: int, dtype: torch.dtype) -> torch.Tensor: ...

    def capture(self, call: Call) -> Call:
        """Runs `call` to warm up, captures it, and returns what replays it in the stream that is current then.

        Calls that are captured share memory: what one left there is lost when another is replayed.
        """
        ...

    def settle(self) -> None:
        """The host waits for everything; for the start, not for requests."""
        ...


class CudaEvent:
    def __init__(self, stream: torch.cuda.Stream) -> None:
        # blocking: a host that waits leaves its core to others
        self.event = torch.cuda.Event(blocking=True)
        self.event.record(stream)

    def wait(self) -> None:
        self.event.synchronize()


class CudaStream:
    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)

    def run(self, call: Call) -> None:
        with torch.cuda.stream(self._stream):
            call()

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        with torch.cuda.stream(self._stream):
            target.copy_(source, non_blocking=True)

    def wait(self, event: Event) -> None:
        assert isinstance(event, CudaEvent)
        self._stream.wait_event(event.event)

    def record(self) -> CudaEvent:
        return CudaEvent(self._stream)


class Cuda:
    """One CUDA device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._captures = torch.cuda.Stream(device)

    def stream(self) -> CudaStream:
        return CudaStream(self._device)

    def pinned(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        # torch's host allocator keeps pinned blocks, and reuses one when the copies that it saw have ended
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    def zeros(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.zeros(shape, dtype=dtype, device=self._device)

    def capture(self, call: Call) -> Call:
        with torch.cuda.device(self._device):
            with torch.cuda.stream(self._captures):
                for _ in range(WARM_UP):
                    call()
            self._captures.synchronize()
            graph = torch.cuda.CUDAGraph()
            # one stream for all captures, or they share no memory; other threads may go on using the device
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._captures, capture_error_mode="thread_local"
            ):
                call()
        replay: Call = graph.replay
        return replay

    def settle(self) -> None:
        torch.cuda.synchronize(self._device)

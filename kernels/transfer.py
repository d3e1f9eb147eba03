"""Copies between host and device for which the host does not wait, but once for all rows that it wants to read.

For batches that no runner stages: images of any sizes, whose order goes along.
"""
# torch leaves its streams and events without annotations
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Sequence

import torch


def send(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """The host's tensor on `device`, after what its current stream was given before; itself on a CPU.

    A device reads pinned memory by itself, so that the host goes on at once; from ordinary memory it would wait. The
    pinned copy may be dropped at once: torch gives its memory to nobody before the device has read it.
    """
    if torch.device(device).type == "cpu":
        return tensor
    return pinned(tensor).to(device, non_blocking=True)


def send_joined(parts: Sequence[torch.Tensor], device: torch.device | str) -> torch.Tensor:
    """Tensors of the host one after the other on `device`: [sum of lengths, …]; copied once by the host."""
    if torch.device(device).type == "cpu":
        return parts[0] if len(parts) == 1 else torch.cat(list(parts))
    together = pinned_empty(sum(map(len, parts)), *parts[0].shape[1:], dtype=parts[0].dtype)
    torch.cat(list(parts), out=together)
    return together.to(device, non_blocking=True)


def fetch(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Each on the host, in pinned memory of its own; waits once for all of them. Themselves on a CPU."""
    if all(on_host(tensor) for tensor in tensors):
        return list(tensors)
    fetched = [
        pinned_empty(*tensor.shape, dtype=tensor.dtype).copy_(tensor, non_blocking=True) for tensor in tensors
    ]
    landed(tensors[0].device)
    return fetched


def on_host(tensor: torch.Tensor) -> bool:
    return tensor.device.type == "cpu"


def pinned(tensor: torch.Tensor) -> torch.Tensor:
    """A copy in memory that the device can read; itself where it lies in such."""
    return tensor.pin_memory()


def pinned_empty(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    """From the pool of torch's host allocator, which rounds up to a power of two."""
    return torch.empty(shape, dtype=dtype, pin_memory=True)


def landed(device: torch.device) -> None:
    """Waits for what the current stream of `device` was given, and leaves the core to others meanwhile."""
    event = torch.cuda.Event(blocking=True)
    event.record(torch.cuda.current_stream(device))
    event.synchronize()

"""Sees every copy between the host and a device without memory, and refuses those for which the host would wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kernels import transfer


class Transfers(TorchDispatchMode):
    """Counts what is sent to the device "meta".

    Whatever asks it for an answer (`item`, `tolist`, `nonzero`, a copy to the host) raises by itself: it has none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[int, ...]] = []
        self._pinned: list[torch.Tensor] = []

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        self._pinned.append(tensor)
        return tensor

    def empty(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        return self.pin(torch.empty(shape, dtype=dtype))

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        made = function(*args, **kwargs)
        read = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        from_host = [each for each in read if each.device.type == "cpu" and each.dim()]
        onto_device = any(
            each.device.type == "meta" for each in tree_leaves(made) if isinstance(each, torch.Tensor)
        )
        if from_host and onto_device:
            (source,) = from_host
            assert any(source is each for each in self._pinned), (
                f"{function}: {list(source.shape)} is not pinned"
            )
            assert kwargs.get("non_blocking"), f"{function}: the host waits"
            self.sent.append(tuple(source.shape))
        return made


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Transfers]:
    transfers = Transfers()
    monkeypatch.setattr(transfer, "pinned", transfers.pin)
    monkeypatch.setattr(transfer, "pinned_empty", transfers.empty)
    with transfers:
        yield transfers

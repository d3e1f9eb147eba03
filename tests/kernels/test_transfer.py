"""Copies between host and device; on a GPU where there is one, else with the host in its place."""

from __future__ import annotations

import pytest
import torch

from kernels import transfer
from tests.kernels.transfers import watched

CPU = torch.device("cpu")
PARTS = [torch.arange(6, dtype=torch.uint8).view(2, 3), torch.arange(6, 15, dtype=torch.uint8).view(3, 3)]


def test_on_a_cpu_nothing_is_copied_that_is_in_one_piece() -> None:
    assert transfer.send(PARTS[0], CPU) is PARTS[0]
    assert transfer.send_joined(PARTS[:1], CPU) is PARTS[0]
    assert transfer.send_joined(PARTS, CPU).tolist() == torch.cat(PARTS).tolist()
    assert transfer.fetch(PARTS)[1] is PARTS[1]


def test_what_is_sent_is_copied_once_by_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    with watched(monkeypatch) as transfers:
        joined = transfer.send_joined(PARTS, "meta")
        assert (joined.device.type, joined.dtype, joined.shape) == ("meta", torch.uint8, (5, 3))
        assert transfers.sent == [(5, 3)]
        assert transfer.send(PARTS[0], "meta").shape == (2, 3)
        with pytest.raises(AssertionError, match="is not pinned"):
            PARTS[1].to("meta")


def test_the_host_waits_once_for_all_that_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[torch.Tensor] = []
    waited: list[list[bool]] = []

    def poisoned(*shape: int, dtype: torch.dtype) -> torch.Tensor:
        made.append(torch.full(shape, 77, dtype=dtype))
        return made[-1]

    monkeypatch.setattr(transfer, "on_host", lambda tensor: False)
    monkeypatch.setattr(transfer, "pinned_empty", poisoned)
    monkeypatch.setattr(
        transfer, "landed", lambda device: waited.append([bool((one != 77).all()) for one in made])
    )
    fetched = transfer.fetch(PARTS)
    assert waited == [[True, True]]  # after both copies were given
    for one, part in zip(fetched, PARTS, strict=True):
        assert torch.equal(one, part) and one is not part


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_there_and_back_on_a_gpu() -> None:
    torch.cuda.set_sync_debug_mode("error")
    try:
        sent = [transfer.send_joined(PARTS, "cuda"), transfer.send(PARTS[1], "cuda") + 1]
        joined, raised = transfer.fetch(sent)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert joined.is_pinned()
    assert torch.equal(joined, torch.cat(PARTS)) and torch.equal(raised, PARTS[1] + 1)

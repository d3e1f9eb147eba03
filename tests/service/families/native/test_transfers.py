"""A batch goes to the device without the host's waiting: its pixels once, and the tables that say where they go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from service.families.native import tower as native
from tests.kernels.transfers import watched
from tests.service.families.checkpoints import tower_of
from tests.service.families.native.towers import TINY, Tiny


def tokens_of(tall: torch.Tensor, front: Any, *, backend: str) -> torch.Tensor:
    """Of the right shape: the reference's own constants would be sent along."""
    lines, columns = (size // front.patch_size for size in tall.shape[1:3])
    return torch.empty(1, lines * columns, front.hidden, dtype=front.dtype, device=tall.device)


@pytest.mark.parametrize("tiny", TINY.values(), ids=TINY.keys())
@pytest.mark.parametrize("attention", ["auto", "varlen"])
def test_encoding_waits_for_nothing(
    tmp_path: Path, tiny: Tiny, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.write(tmp_path)
    images = tiny.tiled()
    monkeypatch.setattr("service.families.loading.obstacle_to_one_call", lambda device, dtype: None)
    tower = tower_of(
        tmp_path,
        device="meta",
        dtype="bfloat16",
        backend="reference",
        body="fused",
        attention=attention,
        independent_tiles=False,
    )
    monkeypatch.setattr(native, "patch_embed", tokens_of)
    with watched(monkeypatch) as transfers:
        rows = tower.encode(images)
    assert [len(one) for one in rows] == [image.rows for image in images]
    cells = sum(image.tile_count for image in images)
    pixels = cells, tiny.cell, tiny.cell, 3
    assert transfers.sent.count(pixels) == 1
    assert transfers.sent.count((cells,)) == 1  # the order, in which rows are put back as well
    assert all(len(shape) <= 2 for shape in transfers.sent if shape != pixels)

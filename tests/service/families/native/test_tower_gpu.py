"""The towers on a GPU, pictures of any sizes together, against transformers on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.service.families.checkpoints import tower_of
from tests.service.families.native.towers import TINY, Tiny
from tests.service.families.rows import worst

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("tiny", TINY.values(), ids=TINY.keys())
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 5e-3), ("bfloat16", 3e-2)])
@pytest.mark.parametrize("body", ["fused", "triton", "transformers"])
def test_soft_tokens_are_those_of_transformers(
    tmp_path: Path, tiny: Tiny, dtype: str, tolerance: float, body: str
) -> None:
    exact = tiny.soft_tokens(tiny.write(tmp_path))
    tower = tower_of(tmp_path, device="cuda", dtype=dtype, body=body)
    rows = [one.float().cpu() for one in tower.encode(tiny.tiled())]
    assert worst(rows, exact) < tolerance


@pytest.mark.parametrize("tiny", TINY.values(), ids=TINY.keys())
def test_the_host_waits_for_nothing(tmp_path: Path, tiny: Tiny) -> None:
    tiny.write(tmp_path)
    tower, images = tower_of(tmp_path, device="cuda", dtype="bfloat16", body="fused"), tiny.tiled()
    tower.encode(images)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        rows = tower.encode(images)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert [len(one) for one in rows] == [image.rows for image in images]

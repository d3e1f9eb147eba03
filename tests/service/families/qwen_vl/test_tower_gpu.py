"""The tower on a GPU, pictures of any sizes together, against transformers on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.service.families.checkpoints import tower_of
from tests.service.families.qwen_vl.test_tower import tiled, worst
from tests.service.tiny_qwen_vl import pictures, soft_tokens, write_checkpoint

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 5e-3), ("bfloat16", 3e-2)])
@pytest.mark.parametrize("body", ["fused", "transformers"])
def test_soft_tokens_are_those_of_transformers(
    tmp_path: Path, dtype: str, tolerance: float, body: str
) -> None:
    model = write_checkpoint(tmp_path)
    exact = soft_tokens(model, pictures())
    tower = tower_of(tmp_path, device="cuda", dtype=dtype, body=body)
    rows = [one.float().cpu() for one in tower.encode(list(map(tiled, pictures())))]
    assert worst(rows, exact) < tolerance

"""The tower on a GPU, staged and captured as the service does it, against transformers on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kernels.runner import Cuda, Runner
from service.families.towers import TileTower
from tests.service.families.checkpoints import tower_of
from tests.service.tiny_internvl import random_tiles, soft_tokens, tiled, write_checkpoint

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 5e-3), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("graph_sizes", [(), (1, 2, 4)])
@pytest.mark.parametrize("body", ["transformers", "triton"])
def test_staged_batches_are_transformers_soft_tokens(
    tmp_path: Path, dtype: str, tolerance: float, graph_sizes: tuple[int, ...], body: str
) -> None:
    model = write_checkpoint(tmp_path)
    tower = tower_of(tmp_path, device="cuda", dtype=dtype, body=body)
    assert isinstance(tower, TileTower)
    runner = Runner(
        tower.forward, tower.tile_shape, Cuda(torch.device("cuda")), most=4, graph_sizes=graph_sizes
    )
    for count in (1, 2, 3, 9, 5):
        tiles = random_tiles(count, seed=count)
        exact = soft_tokens(model, tiles)
        landed = runner.run([tiles])
        assert landed.finite.all()
        assert (landed.rows.float() - exact).norm() < tolerance * exact.norm()
        (plain,) = tower.encode([tiled(tiles)])
        assert (plain.float().cpu() - exact).norm() < tolerance * exact.norm()

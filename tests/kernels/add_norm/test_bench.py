"""Every case of the benchmark passes its gate."""

from __future__ import annotations

import pytest
import torch

from kernels import bandwidth
from kernels.add_norm import bench
from kernels.bandwidth import TowerShape


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("shape", bench.SHAPES, ids=lambda shape: shape.name)
def test_ours_passes(shape: TowerShape, dtype: torch.dtype) -> None:
    case = bench.draw(TowerShape(shape.tower, 3), 2, dtype, torch.device("cpu"), "cpu")
    assert [len(one) for one in case.exact] == [6, 6]
    assert bandwidth.gate(case, "cpu", bandwidth.measure_errors(case)) == []

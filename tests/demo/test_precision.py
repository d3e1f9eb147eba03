"""The embedded model with its tower's blocks in int8 answers as in full precision: a sample of what
`python -m benchmarks.precision` asks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from demo.cases import draw_cases
from demo.offline import Reference
from kernels.blocks import FusedBlocks, read_layer
from kernels.eight_bit import Precision
from kernels.eight_bit.choice import obstacle_to_int8

MODEL = Path("demo/model")
CASES, MAY_DIFFER = 25, 1
OBSTACLE = obstacle_to_int8(torch.device("cpu"), torch.float32)


class Blocks(nn.Module):
    """All of a tower's layers in place of its only one."""

    def __init__(self, layers: nn.ModuleList, dtype: torch.dtype, precision: Precision) -> None:
        super().__init__()
        self.blocks = FusedBlocks([read_layer(layer) for layer in layers], dtype, precision)
        self.forwards = 0

    def forward(self, hidden: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        self.forwards += 1
        return self.blocks(hidden.clone())


@pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))
def test_answers_are_those_of_full_precision() -> None:
    cases = draw_cases(CASES, 11)
    reference = Reference(MODEL)
    full = reference.answers(cases)
    encoder = reference._model.model.vision_tower.encoder
    blocks = Blocks(encoder.layer, reference._model.dtype, "int8")
    encoder.layer = nn.ModuleList([blocks])
    less = reference.answers(cases)
    assert blocks.forwards
    others = [(case.text, one, two) for case, one, two in zip(cases, full, less, strict=True) if one != two]
    assert len(others) <= MAY_DIFFER, others

"""The embedded model's answers with its tower's blocks in int8, against its own in full precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from demo.cases import Case, judge
from demo.offline import Reference
from kernels.blocks import FusedBlocks, read_layer

UNCHANGED = 0.99
"""Share of the answers that int8 has to leave as they are."""


@dataclass(frozen=True, slots=True)
class Answers:
    asked: int
    right: tuple[int, int]
    """in full precision and in int8"""
    changed: tuple[tuple[str, str, str], ...]
    """(question, answer, answer in int8)"""

    @property
    def passed(self) -> bool:
        return len(self.changed) <= (1 - UNCHANGED) * self.asked


def compare(reference: Reference, cases: list[Case]) -> Answers:
    """Asks every case twice."""
    full = reference.answers(cases)
    with in_int8(reference) as blocks:
        less = reference.answers(cases)
    if any(case.pictures for case in cases) and not blocks.forwards:
        raise RuntimeError("the answers in int8 were made without the blocks in int8")
    pairs = zip(cases, full, less, strict=True)
    return Answers(
        asked=len(cases),
        right=(_right(cases, full), _right(cases, less)),
        changed=tuple((case.text, one, other) for case, one, other in pairs if one != other),
    )


@contextmanager
def in_int8(reference: Reference) -> Iterator[_Blocks]:
    """Our blocks in the place of the tower's own layers."""
    model: Any = reference._model
    encoder = model.model.vision_tower.encoder
    own = encoder.layer
    blocks = _Blocks(own, model.dtype)
    encoder.layer = nn.ModuleList([blocks])
    try:
        yield blocks
    finally:
        encoder.layer = own


class _Blocks(nn.Module):
    """All of a tower's layers in place of its only one."""

    def __init__(self, layers: nn.ModuleList, dtype: torch.dtype) -> None:
        super().__init__()
        self.blocks = FusedBlocks([read_layer(layer) for layer in layers], dtype, "int8")
        self.forwards = 0

    def forward(self, hidden: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        self.forwards += 1
        return self.blocks(hidden.clone())


def _right(cases: list[Case], answers: list[str]) -> int:
    return sum(line.right for line in judge(cases, answers))

"""Every family's tiny checkpoint with its tower's linear layers in int8: what becomes of its answers.

Its weights are random, so that many of its tokens are near ties, which bfloat16 would decide otherwise too. Counted are
the others: tokens that lead by more than that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from kernels.eight_bit import quantise_linears
from kernels.eight_bit.choice import obstacle_to_int8
from tests.e2e.comparison import BFLOAT16_TOLERANCE, Told, by_transformers
from tests.e2e.test_families_at_length import CANDIDATES, Candidate
from tests.service.checkpoints import CHECKPOINTS

OBSTACLE = obstacle_to_int8(torch.device("cpu"), torch.float32)
pytestmark = [pytest.mark.families, pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))]

REQUESTS = 16
UNCHANGED, UNCHANGED_OF_EACH = 0.99, 0.9
"""Shares of tokens, of all families together and of each: sixteen requests decide a hundred tokens or so."""
TOWERS = "vision_tower", "visual", "vision_model", "vision_encoder"
NOT_HERE = ("smolvlm",)
"""Whose processor in transformers needs a package that is not installed; its tower is Idefics 3's."""


@dataclass(frozen=True)
class Decided:
    """Tokens that follow the same tokens in both precisions, and lead."""

    tokens: int
    changed: int

    def __str__(self) -> str:
        return f"{self.tokens - self.changed} of {self.tokens}"


def decided(full: Sequence[Told], less: Sequence[Told]) -> Decided:
    tokens = changed = 0
    for one, other in zip(full, less, strict=True):
        assert one.prompt == other.prompt
        for token, now, lead in zip(one.tokens, other.tokens, one.leads, strict=True):
            if lead >= BFLOAT16_TOLERANCE:
                tokens, changed = tokens + 1, changed + (token != now)
            if token != now:
                break
    return Decided(tokens, changed)


def in_int8(model: Any, first: Callable[[Any], object] | None = None) -> None:
    """The blocks of the tower of transformers' model: its largest list of layers; `first` is done to it first."""
    if first is not None:
        first(model)
    towers = [module for name, module in model.named_modules() if name.rpartition(".")[2] in TOWERS]
    lists = [module for module in towers[0].modules() if isinstance(module, nn.ModuleList)]
    quantise_linears([max(lists, key=lambda layers: sum(p.numel() for p in layers.parameters()))], "int8")


def test_tokens_are_counted_up_to_where_answers_part() -> None:
    full = Told([1], [5, 6, 7, 8], [], [0.5, 0.01, 0.3, 0.5])
    assert decided([full], [full]) == Decided(3, 0)
    assert decided([full], [Told([1], [5, 6, 9, 8], [])]) == Decided(2, 1)
    assert decided([full], [Told([1], [5, 9, 7, 8], [])]) == Decided(1, 0)


def test_tokens_that_lead_stay(tmp_path: Path) -> None:
    seen = {}
    for family, write in CHECKPOINTS.items():
        if family in NOT_HERE:
            continue
        candidate = CANDIDATES.get(family, Candidate())
        cases = [images for images in candidate.cases(REQUESTS, seed=11, longest=400) if images]
        folder = tmp_path / family
        folder.mkdir()
        write(folder)
        asked = dict(candidate.asked)
        full = by_transformers(folder, cases, **asked)
        asked["change"] = partial(in_int8, first=asked.get("change"))
        less = by_transformers(folder, cases, **asked)
        assert [one.logprobs for one in full] != [other.logprobs for other in less], family
        seen[family] = decided(full, less)
        print(f"{family}: {seen[family]} tokens are unchanged")
    together = Decided(
        sum(each.tokens for each in seen.values()), sum(each.changed for each in seen.values())
    )
    print(f"all: {together}")
    assert together.changed <= (1 - UNCHANGED) * together.tokens
    for family, each in seen.items():
        assert each.changed <= (1 - UNCHANGED_OF_EACH) * each.tokens, family

"""The bound for products cut along K holds what cuBLAS may do, and not a sum that is kept in bf16."""

from __future__ import annotations

import pytest
import torch

from kernels.measure import relative_error
from tests.kernels.bounds import SPLIT_K

ROWS, K, WIDTH = 64, 4096, 96


def product(parts: int) -> torch.Tensor:
    """bf16 [ROWS, WIDTH]: K cut into so many parts, each rounded to bf16 before they are added in fp32."""
    x, weight = operands()
    made = [
        (one.float() @ other.float().T).bfloat16().float()
        for one, other in zip(x.chunk(parts, 1), weight.chunk(parts, 1), strict=True)
    ]
    return torch.stack(made).sum(0).bfloat16()


def kept_in_bf16(step: int) -> torch.Tensor:
    """The same with the sum rounded after each `step` of K."""
    x, weight = operands()
    total = torch.zeros(ROWS, WIDTH, dtype=torch.bfloat16)
    for one, other in zip(x.split(step, 1), weight.split(step, 1), strict=True):
        total = (total.float() + one.float() @ other.float().T).bfloat16()
    return total


def operands() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return torch.randn(ROWS, K, generator=random).bfloat16(), torch.randn(
        WIDTH, K, generator=random
    ).bfloat16()


def exact() -> torch.Tensor:
    x, weight = operands()
    return x.double() @ weight.double().T


@pytest.mark.parametrize("parts", [2, 4, 8, 16])
def test_parts_that_are_added_are_within_it(parts: int) -> None:
    assert relative_error(product(parts), exact()) < SPLIT_K * relative_error(product(1), exact())


def test_a_sum_kept_in_bf16_is_not() -> None:
    assert relative_error(kept_in_bf16(64), exact()) > SPLIT_K * relative_error(product(1), exact())

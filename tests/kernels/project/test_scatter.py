from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from kernels.project import scatter_index, scatter_spans


def test_spans_are_rows_one_after_the_other() -> None:
    scatter = scatter_spans([7, 0, 3], [2, 3, 0], device="cpu")
    assert scatter.rows.tolist() == [7, 8, 0, 1, 2]
    assert scatter.reach == 9


def test_rows_may_be_a_permutation() -> None:
    order = torch.randperm(9)
    scatter = scatter_index(order, device="cpu")
    assert torch.equal(scatter.rows, order)
    assert scatter.reach == 9
    assert scatter_index(order.int(), device="cpu").rows.dtype == torch.int64


def test_no_rows_reach_nothing() -> None:
    assert scatter_index([], device="cpu").reach == 0
    assert scatter_spans([], [], device="cpu").rows.dtype == torch.int64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scatter_index([0, 2, 2], device="cpu"), "scatter: got 2 more than once"),
        (lambda: scatter_index([0, -1], device="cpu"), "scatter: got -1, must be 0 or more"),
        (lambda: scatter_index([0.5], device="cpu"), r"scatter: got torch.float32 \[1\], must be integers"),
        (lambda: scatter_index(torch.zeros(2, 2, dtype=torch.int64), device="cpu"), r"torch.int64 \[2, 2\]"),
        (lambda: scatter_spans([0, 2], [3, 1], device="cpu"), "scatter: got 2 more than once"),
        (lambda: scatter_spans([0, 2], [3], device="cpu"), "counts: got 1 for 2 starts"),
        (lambda: scatter_spans([0], [-3], device="cpu"), "counts: got -3, must be 0 or more"),
    ],
)
def test_places_that_cannot_be_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

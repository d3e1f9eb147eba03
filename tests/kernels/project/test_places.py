from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from kernels.project import place_rows, place_spans


def test_spans_are_rows_one_after_the_other() -> None:
    places = place_spans([7, 0, 3], [2, 3, 0], device="cpu")
    assert places.rows.tolist() == [7, 8, 0, 1, 2]
    assert places.reach == 9


def test_rows_may_be_a_permutation() -> None:
    order = torch.randperm(9)
    places = place_rows(order, device="cpu")
    assert torch.equal(places.rows, order)
    assert places.reach == 9
    assert place_rows(order.int(), device="cpu").rows.dtype == torch.int64


def test_no_rows_reach_nothing() -> None:
    assert place_rows([], device="cpu").reach == 0
    assert place_spans([], [], device="cpu").rows.dtype == torch.int64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: place_rows([0, 2, 2], device="cpu"), "places: got 2 more than once"),
        (lambda: place_rows([0, -1], device="cpu"), "places: got -1, must be 0 or more"),
        (lambda: place_rows([0.5], device="cpu"), r"places: got torch.float32 \[1\], must be integers"),
        (lambda: place_rows(torch.zeros(2, 2, dtype=torch.int64), device="cpu"), r"torch.int64 \[2, 2\]"),
        (lambda: place_spans([0, 2], [3, 1], device="cpu"), "places: got 2 more than once"),
        (lambda: place_spans([0, 2], [3], device="cpu"), "counts: got 1 for 2 starts"),
        (lambda: place_spans([0], [-3], device="cpu"), "counts: got -3, must be 0 or more"),
    ],
)
def test_places_that_cannot_be_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

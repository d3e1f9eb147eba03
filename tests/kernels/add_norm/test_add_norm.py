"""The CPU path and the reference against torch's in fp64, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kernels.add_norm import BackendUnavailable, add_norm
from kernels.backend import Backend
from kernels.measure import relative_error
from tests.kernels.add_norm.cases import CASES, EPS, ROUNDING, Case, drawn, exact

BACKENDS: tuple[Backend, ...] = ("cpu", "reference")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_sum_is_kept_and_its_norm_returned(case: Case, dtype: torch.dtype, backend: Backend) -> None:
    hidden, update, parameters = drawn(case, dtype)
    total, wanted = exact(hidden, update, parameters)
    normed = add_norm(hidden, update, *parameters, backend=backend)
    assert (normed.shape, normed.dtype) == (hidden.shape, dtype)
    assert relative_error(hidden, total) < ROUNDING[dtype]
    assert relative_error(normed, wanted) < (3 if backend == "cpu" else 1) * ROUNDING[dtype]


def test_parameters_may_be_in_fp32() -> None:
    hidden, update, _ = drawn(Case(5, 96, "layer", True), torch.bfloat16)
    parameters = drawn(Case(5, 96, "layer", True))[2]
    wanted = exact(hidden, update, parameters)[1]
    assert (
        relative_error(add_norm(hidden, update, *parameters, backend="reference"), wanted)
        < ROUNDING[torch.bfloat16]
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "batch"}, "kind: got 'batch', allowed are 'layer', 'rms'"),
        ({"hidden": torch.zeros(2, 3, 8)}, r"hidden: got torch.float32 \[2, 3, 8\]"),
        ({"hidden": torch.zeros(3, 8, dtype=torch.int32)}, "hidden: got torch.int32"),
        ({"hidden": torch.zeros(8, 3).T}, r"strides \[1, 3\]"),
        ({"hidden": torch.zeros(8).expand(3, 8)}, r"strides \[0, 1\]"),
        ({"update": torch.zeros(4, 8)}, r"update: got torch.float32 \[4, 8\]"),
        ({"update": torch.zeros(3, 8, dtype=torch.float16)}, "update: got torch.float16"),
        ({"update": torch.zeros(8, 3).T}, "with adjacent channels"),
        ({"weight": torch.zeros(9)}, r"weight: got torch.float32 \[9\] on cpu, must be contiguous \[8\]"),
        ({"weight": torch.zeros(16)[::2]}, "weight: got torch.float32"),
        ({"bias": torch.zeros(8, dtype=torch.float16)}, "bias: got torch.float16"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "hidden": torch.zeros(3, 8),
        "update": torch.zeros(3, 8),
        "weight": torch.zeros(8),
        "bias": None,
        "eps": EPS,
        "kind": "layer",
    }
    add_norm(**good, backend="reference")
    with pytest.raises(ValueError, match=message):
        add_norm(**{**good, **changed}, backend="reference")


def test_a_backend_that_cannot_run_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernels.backend._interpreted", lambda: False)
    hidden, update, parameters = drawn(CASES[0])
    with pytest.raises(BackendUnavailable, match="backend 'triton' got a tensor on cpu"):
        add_norm(hidden, update, *parameters, backend="triton")

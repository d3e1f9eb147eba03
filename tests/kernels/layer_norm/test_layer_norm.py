"""The CPU path and the reference against torch's in fp64, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kernels.backend import Backend
from kernels.layer_norm import BackendUnavailable, layer_norm
from kernels.measure import relative_error
from tests.kernels.layer_norm.cases import EPS, ROUNDING, SHAPES, drawn, exact

BACKENDS: tuple[Backend, ...] = ("cpu", "reference")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_token_is_normalised(shape: tuple[int, int, int], dtype: torch.dtype, backend: Backend) -> None:
    given = drawn(shape, dtype)
    made = layer_norm(*given, EPS, backend=backend)
    assert (made.shape, made.dtype) == (shape, dtype)
    assert relative_error(made, exact(*given)) < ROUNDING[dtype]


@pytest.mark.parametrize("backend", BACKENDS)
def test_bf16_is_at_most_as_far_off_as_torchs(backend: Backend) -> None:
    given = drawn((2, 17, 1024), torch.bfloat16)
    theirs = torch.nn.functional.layer_norm(given[0], given[1].shape, *given[1:], EPS)
    made = layer_norm(*given, EPS, backend=backend)
    assert relative_error(made, exact(*given)) <= relative_error(theirs, exact(*given))


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_writes_where_it_is_told_and_in_place(backend: Backend) -> None:
    hidden, *parameters = drawn((3, 5, 32))
    wanted = layer_norm(hidden, *parameters, EPS, backend=backend)
    out = torch.full((3, 7, 32), float("nan"))[:, 1:6]
    assert layer_norm(hidden, *parameters, EPS, backend=backend, out=out) is out
    assert torch.equal(out, wanted)
    assert layer_norm(hidden, *parameters, EPS, backend=backend, out=hidden) is hidden
    assert torch.equal(hidden, wanted)


def test_parameters_may_be_in_fp32() -> None:
    hidden = drawn((2, 5, 96), torch.bfloat16)[0]
    _, weight, bias = drawn((2, 5, 96))
    made = layer_norm(hidden, weight, bias, EPS, backend="cpu")
    assert made.dtype == torch.bfloat16
    assert relative_error(made, exact(hidden, weight, bias)) < ROUNDING[torch.bfloat16]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden": torch.zeros(3, 8)}, r"hidden: got torch.float32 \[3, 8\]"),
        ({"hidden": torch.zeros(1, 3, 8, dtype=torch.int32)}, "hidden: got torch.int32"),
        ({"hidden": torch.zeros(1, 8, 3).transpose(1, 2)}, r"strides \[24, 1, 3\]"),
        ({"weight": torch.zeros(9)}, r"weight: got torch.float32 \[9\] on cpu, must be contiguous \[8\]"),
        ({"weight": torch.zeros(16)[::2]}, "weight: got torch.float32"),
        ({"bias": torch.zeros(8, dtype=torch.float16)}, "bias: got torch.float16"),
        ({"hidden": torch.zeros(1, 3, 8).half(), "bias": torch.zeros(8).half()}, "in the dtype of weight"),
        ({"out": torch.zeros(1, 3, 9)}, r"out: got torch.float32 \[1, 3, 9\]"),
        ({"out": torch.zeros(1, 3, 8, dtype=torch.float16)}, "out: got torch.float16"),
        ({"out": torch.zeros(1, 8, 3).transpose(1, 2)}, "with adjacent channels"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, torch.Tensor], message: str) -> None:
    good: dict[str, Any] = {
        "hidden": torch.zeros(1, 3, 8),
        "weight": torch.zeros(8),
        "bias": torch.zeros(8),
    }
    layer_norm(**good, eps=EPS, backend="cpu")
    with pytest.raises(ValueError, match=message):
        layer_norm(**{**good, **changed}, eps=EPS, backend="cpu")


def test_a_backend_that_cannot_run_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernels.backend._interpreted", lambda: False)
    with pytest.raises(BackendUnavailable, match="backend 'triton' got a tensor on cpu"):
        layer_norm(*drawn((1, 2, 8)), EPS, backend="triton")

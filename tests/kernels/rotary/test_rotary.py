"""The CPU path and the reference against matrices of rotation in fp64, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kernels.backend import Backend
from kernels.measure import relative_error
from kernels.rotary import BackendUnavailable, rotary
from tests.kernels.rotary.cases import ROUNDING, SHAPES, Shape, drawn, exact

BACKENDS: tuple[Backend, ...] = ("cpu", "reference")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_queries_and_keys_turn_and_values_stay(shape: Shape, dtype: torch.dtype, backend: Backend) -> None:
    qkv, rotations = drawn(shape, dtype)
    wanted, value = exact(qkv, rotations, shape), qkv[:, -shape.heads * shape.width :].clone()
    assert rotary(qkv, rotations, shape.heads, backend=backend) is qkv
    assert relative_error(qkv, wanted) < ROUNDING[dtype]
    assert torch.equal(qkv[:, -shape.heads * shape.width :], value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_may_lie_apart(backend: Backend) -> None:
    shape = Shape(5, 2, 8)
    qkv, rotations = drawn(shape)
    around = torch.full((5, 60), float("nan"))
    inner = around[:, 6:54]
    inner.copy_(qkv)
    rotary(inner, rotations, 2, backend=backend)
    assert relative_error(inner, exact(qkv, rotations, shape)) < ROUNDING[torch.float32]
    inner.fill_(float("nan"))
    assert around.isnan().all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"qkv": torch.zeros(2, 3, 48)}, r"qkv: got torch.float32 \[2, 3, 48\]"),
        ({"qkv": torch.zeros(3, 48, dtype=torch.int32)}, "qkv: got torch.int32"),
        ({"qkv": torch.zeros(48, 3).T}, r"strides \[1, 3\]"),
        ({"qkv": torch.zeros(48).expand(3, 48)}, r"strides \[0, 1\]"),
        ({"heads": 0}, "heads: got 0 for 48 columns"),
        ({"heads": 5}, "heads: got 5 for 48 columns, must divide"),
        ({"rotations": torch.zeros(3, 4)}, r"rotations: got torch.float32 \[3, 4\]"),
        ({"rotations": torch.zeros(3, 5, dtype=torch.complex64)}, r"complex64 \[3, 4\] on cpu"),
        ({"rotations": torch.zeros(4, 3, dtype=torch.complex64).T}, "must be contiguous"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "qkv": torch.zeros(3, 48),
        "rotations": torch.zeros(3, 4, dtype=torch.complex64),
        "heads": 2,
    }
    rotary(**good, backend="cpu")
    with pytest.raises(ValueError, match=message):
        rotary(**{**good, **changed}, backend="cpu")


def test_a_backend_that_cannot_run_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernels.backend._interpreted", lambda: False)
    with pytest.raises(BackendUnavailable, match="backend 'triton' got a tensor on cpu"):
        rotary(*drawn(Shape(1, 1, 4)), 1, backend="triton")

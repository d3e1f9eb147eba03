"""The CPU path and the reference against the definitions in fp64, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kernels.activation import ACTIVATIONS, Activation, BackendUnavailable, activate
from kernels.backend import Backend
from kernels.measure import relative_error
from tests.kernels.activation.cases import ROUNDING, SHAPES, Shape, drawn, exact

BACKENDS: tuple[Backend, ...] = ("cpu", "reference")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_what_its_name_says(
    shape: Shape, kind: Activation, dtype: torch.dtype, backend: Backend
) -> None:
    x = drawn(shape, dtype)
    made = activate(x, kind, gated=shape.gated, backend=backend)
    assert (made.shape, made.dtype) == ((shape.rows, shape.width), dtype)
    assert relative_error(made, exact(x, kind, shape.gated)) < ROUNDING[dtype]


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_writes_where_it_is_told_and_in_place(backend: Backend) -> None:
    x = drawn(Shape(5, 16, False))
    wanted = activate(x, "gelu", backend=backend)
    out = torch.full((7, 32), float("nan"))[1:6, 8:24]
    assert activate(x, "gelu", backend=backend, out=out) is out
    assert torch.equal(out, wanted)
    assert activate(x, "gelu", backend=backend, out=x) is x
    assert torch.equal(x, wanted)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "relu"}, "kind: got 'relu', allowed are 'gelu', 'gelu_tanh', 'quick_gelu', 'silu'"),
        ({"x": torch.zeros(2, 3, 8)}, r"x: got torch.float32 \[2, 3, 8\]"),
        ({"x": torch.zeros(3, 8, dtype=torch.int32)}, "x: got torch.int32"),
        ({"x": torch.zeros(8, 3).T}, r"strides \[1, 3\]"),
        ({"x": torch.zeros(3, 7), "gated": True}, r"must be \[rows, 2 · width\]"),
        ({"out": torch.zeros(3, 9)}, r"out: got torch.float32 \[3, 9\]"),
        ({"out": torch.zeros(3, 8), "gated": True}, r"must be torch.float32 \[3, 4\]"),
        ({"out": torch.zeros(3, 8, dtype=torch.float16)}, "out: got torch.float16"),
        ({"out": torch.zeros(1, 8).expand(3, 8)}, "with adjacent columns"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"x": torch.zeros(3, 8), "kind": "gelu"}
    activate(**good, backend="cpu")
    with pytest.raises(ValueError, match=message):
        activate(**{**good, **changed}, backend="cpu")


def test_a_backend_that_cannot_run_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernels.backend._interpreted", lambda: False)
    with pytest.raises(BackendUnavailable, match="backend 'triton' got a tensor on cpu"):
        activate(torch.zeros(1, 4), "gelu", backend="triton")

"""The Triton kernel: on a GPU where there is one, else in the interpreter (see test_interpreter.py)."""

from __future__ import annotations

import pytest
import torch

from kernels.activation import ACTIVATIONS, Activation, BackendUnavailable, activate
from kernels.measure import relative_error
from tests.kernels.activation.cases import ROUNDING, SHAPES, Shape, drawn, exact

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
pytestmark = [
    *([pytest.mark.gpu] if GPU else []),
    # 1 / (1 + exp(−x)) of the interpreter: 1 / ∞ is the 0 that is wanted, and a GPU says nothing of it
    pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning"),
]
DTYPES = [torch.float32, torch.float16, *([torch.bfloat16] if GPU else [])]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_number_is_written_and_right(shape: Shape, kind: Activation, dtype: torch.dtype) -> None:
    x = drawn(shape, dtype)
    out = torch.full((shape.rows, shape.width), float("nan"), dtype=dtype, device=DEVICE)
    assert activate(x.to(DEVICE), kind, gated=shape.gated, backend="triton", out=out) is out
    assert relative_error(out.cpu(), exact(x, kind, shape.gated)) < ROUNDING[dtype]


def test_in_place_is_the_same() -> None:
    x = drawn(Shape(9, 130, False)).to(DEVICE)
    apart = activate(x, "quick_gelu", backend="triton")
    activate(x, "quick_gelu", backend="triton", out=x)
    assert torch.equal(x, apart)


@pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
def test_strides_are_followed_and_nothing_is_written_beside_the_output(gated: bool) -> None:
    x = drawn(Shape(5, 40, gated))
    pool = torch.full((5, 96), 99.0, device=DEVICE)
    given = pool[:, 3 : 3 + x.shape[1]].copy_(x)
    around = torch.full((9, 64), float("nan"), device=DEVICE)
    inner = around[2:7, 5:45]
    activate(given, "silu", gated=gated, backend="triton", out=inner)
    assert relative_error(inner.cpu(), exact(x, "silu", gated)) < ROUNDING[torch.float32]
    inner.fill_(float("nan"))
    assert around.isnan().all()


def test_rows_may_lie_gigabytes_apart() -> None:
    """Address arithmetic in 32 bits would wrap at the third row and read (or crash) elsewhere."""
    distance = 2**30 + 16
    x = drawn(Shape(3, 24, False), torch.float16)
    memory = torch.empty(2 * distance + 24, dtype=torch.float16, device=DEVICE)
    apart = memory.as_strided((3, 24), (distance, 1)).copy_(x)
    activate(apart, "gelu", backend="triton", out=apart)
    assert relative_error(apart.cpu(), exact(x, "gelu", False)) < ROUNDING[torch.float16]


def test_no_rows_are_none() -> None:
    assert activate(torch.zeros(0, 8, device=DEVICE), "silu", gated=True, backend="triton").shape == (0, 4)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_large_numbers_stay_themselves_or_vanish(kind: Activation) -> None:
    made = activate(torch.tensor([[-3e4, 0.0, 3e4]], device=DEVICE), kind, backend="triton")
    assert made.tolist() == [[0.0, 0.0, 3e4]]


@pytest.mark.skipif(GPU, reason="the interpreter only")
def test_bf16_is_refused_where_it_would_be_wrong() -> None:
    with pytest.raises(BackendUnavailable, match="the interpreter gets bf16 wrong"):
        activate(torch.zeros(1, 4).bfloat16(), "gelu", backend="triton")


@pytest.mark.skipif(not GPU, reason="bf16 needs a GPU")
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_bf16_is_at_most_as_far_off_as_torchs(kind: Activation) -> None:
    x = drawn(Shape(577, 3456, True), torch.bfloat16)
    wanted, given = exact(x, kind, True), x.to(DEVICE)
    theirs = activate(x, kind, gated=True, backend="cpu")
    made = activate(given, kind, gated=True, backend="triton")
    assert relative_error(made.cpu(), wanted) <= 1.001 * relative_error(theirs, wanted)

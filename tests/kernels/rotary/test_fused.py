"""The Triton kernel: on a GPU where there is one, else in the interpreter (see test_interpreter.py)."""

from __future__ import annotations

import pytest
import torch

from kernels.measure import relative_error
from kernels.rotary import BackendUnavailable, rotary
from tests.kernels.rotary.cases import ROUNDING, SHAPES, Shape, drawn, exact

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
pytestmark = [pytest.mark.gpu] if GPU else []
DTYPES = [torch.float32, torch.float16, *([torch.bfloat16] if GPU else [])]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_queries_and_keys_turn_and_nothing_else_is_written(shape: Shape, dtype: torch.dtype) -> None:
    qkv, rotations = drawn(shape, dtype)
    around = torch.full((shape.tokens + 2, qkv.shape[1] + 16), float("nan"), dtype=dtype, device=DEVICE)
    inner = around[1:-1, 8:-8].copy_(qkv)
    assert rotary(inner, rotations.to(DEVICE), shape.heads, backend="triton") is inner
    assert relative_error(inner.cpu(), exact(qkv, rotations, shape)) < ROUNDING[dtype]
    value = slice(-shape.heads * shape.width, None)
    assert torch.equal(inner[:, value].cpu(), qkv[:, value])
    inner.fill_(float("nan"))
    assert around.isnan().all()


def test_tokens_may_lie_gigabytes_apart() -> None:
    """Address arithmetic in 32 bits would wrap at the third token and write (or crash) elsewhere."""
    distance, shape = 2**30 + 16, Shape(3, 2, 8)
    qkv, rotations = drawn(shape, torch.float16)
    memory = torch.empty(2 * distance + 48, dtype=torch.float16, device=DEVICE)
    apart = memory.as_strided((3, 48), (distance, 1)).copy_(qkv)
    rotary(apart, rotations.to(DEVICE), 2, backend="triton")
    assert relative_error(apart.cpu(), exact(qkv, rotations, shape)) < ROUNDING[torch.float16]


def test_no_tokens_are_none() -> None:
    qkv, rotations = (one[:0].to(DEVICE) for one in drawn(Shape(2, 2, 8)))
    assert rotary(qkv, rotations, 2, backend="triton").shape == (0, 48)


def test_a_rotation_and_its_opposite_leave_what_there_was() -> None:
    qkv, rotations = (one.to(DEVICE) for one in drawn(Shape(9, 4, 24)))
    before = qkv.clone()
    rotary(qkv, rotations, 4, backend="triton")
    assert relative_error(qkv, before) > 0.5
    rotary(qkv, rotations.conj().resolve_conj(), 4, backend="triton")
    assert relative_error(qkv, before) < ROUNDING[torch.float32]


@pytest.mark.skipif(GPU, reason="the interpreter only")
def test_bf16_is_refused_where_it_would_be_wrong() -> None:
    with pytest.raises(BackendUnavailable, match="the interpreter gets bf16 wrong"):
        rotary(*drawn(Shape(1, 1, 4), torch.bfloat16), 1, backend="triton")


@pytest.mark.skipif(not GPU, reason="bf16 needs a GPU")
def test_bf16_is_at_most_as_far_off_as_products_of_complex_numbers() -> None:
    shape = Shape(1024, 16, 80)
    qkv, rotations = drawn(shape, torch.bfloat16)
    theirs = rotary(qkv.clone(), rotations, shape.heads, backend="cpu")
    wanted = exact(qkv, rotations, shape)
    made = rotary(qkv.to(DEVICE), rotations.to(DEVICE), shape.heads, backend="triton")
    assert relative_error(made.cpu(), wanted) <= 1.001 * relative_error(theirs, wanted)

"""The Triton kernel: on a GPU where there is one, else in the interpreter (see test_interpreter.py)."""

from __future__ import annotations

import pytest
import torch

from kernels.layer_norm import BackendUnavailable, layer_norm
from kernels.measure import relative_error
from tests.kernels.layer_norm.cases import EPS, ROUNDING, SHAPES, drawn, exact

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
pytestmark = [pytest.mark.gpu] if GPU else []
DTYPES = [torch.float32, torch.float16, *([torch.bfloat16] if GPU else [])]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_token_is_written_and_right(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    given = drawn(shape, dtype)
    out = torch.full(shape, float("nan"), dtype=dtype, device=DEVICE)
    assert layer_norm(*(one.to(DEVICE) for one in given), EPS, backend="triton", out=out) is out
    assert relative_error(out.cpu(), exact(*given)) < ROUNDING[dtype]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_in_place_is_the_same(shape: tuple[int, int, int]) -> None:
    hidden, weight, bias = (one.to(DEVICE) for one in drawn(shape))
    apart = layer_norm(hidden, weight, bias, EPS, backend="triton")
    layer_norm(hidden, weight, bias, EPS, backend="triton", out=hidden)
    assert torch.equal(hidden, apart)


def test_strides_are_followed_and_nothing_is_written_beside_the_output() -> None:
    hidden, weight, bias = drawn((3, 5, 40))
    pool = torch.full((6, 7, 48), 99.0, device=DEVICE)
    given = pool[::2, 1:6, :40].copy_(hidden)
    around = torch.full((4, 9, 64), float("nan"), device=DEVICE)
    inner = around[1:, 2:7, :40]
    layer_norm(given, weight.to(DEVICE), bias.to(DEVICE), EPS, backend="triton", out=inner)
    assert relative_error(inner.cpu(), exact(hidden, weight, bias)) < ROUNDING[torch.float32]
    inner.fill_(float("nan"))
    assert around.isnan().all()


def test_tiles_may_lie_gigabytes_apart() -> None:
    """Address arithmetic in 32 bits would wrap at the third tile and read (or crash) elsewhere."""
    distance = 2**30 + 16
    hidden, weight, bias = drawn((3, 2, 24), torch.float16)
    memory = torch.empty(2 * distance + 2 * 24, dtype=torch.float16, device=DEVICE)
    apart = memory.as_strided((3, 2, 24), (distance, 24, 1)).copy_(hidden)
    layer_norm(apart, weight.to(DEVICE), bias.to(DEVICE), EPS, backend="triton", out=apart)
    assert relative_error(apart.cpu(), exact(hidden, weight, bias)) < ROUNDING[torch.float16]


def test_no_tiles_are_no_tokens() -> None:
    hidden, weight, bias = (one.to(DEVICE) for one in drawn((2, 3, 8)))
    assert layer_norm(hidden[:0], weight, bias, EPS, backend="triton").shape == (0, 3, 8)


def test_a_constant_token_is_its_bias() -> None:
    _, weight, bias = (one.to(DEVICE) for one in drawn((1, 1, 24)))
    tokens = torch.full((1, 4, 24), 8.0, device=DEVICE)
    made = layer_norm(tokens, weight, bias, EPS, backend="triton")
    # a mean that is off by its last bit is magnified by 1 / √eps
    torch.testing.assert_close(made, bias.expand(1, 4, 24), rtol=0, atol=1e-3)


@pytest.mark.skipif(GPU, reason="the interpreter only")
def test_bf16_is_refused_where_it_would_be_wrong() -> None:
    with pytest.raises(BackendUnavailable, match="the interpreter gets bf16 wrong"):
        layer_norm(*drawn((1, 2, 8), torch.bfloat16), EPS, backend="triton")


@pytest.mark.skipif(not GPU, reason="bf16 needs a GPU")
def test_bf16_is_at_most_as_far_off_as_torchs() -> None:
    given = [one.to(DEVICE) for one in drawn((64, 577, 1024), torch.bfloat16)]
    theirs = torch.nn.functional.layer_norm(given[0], given[1].shape, *given[1:], EPS)
    wanted = exact(*given)
    made = layer_norm(*given, EPS, backend="triton")
    # both round once, from sums in another order
    assert relative_error(made, wanted) <= 1.001 * relative_error(theirs, wanted)

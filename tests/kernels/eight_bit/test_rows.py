"""What a linear layer in 8 bits makes of hostile rows and of any shape, whichever format it computes in."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from kernels.eight_bit import Fp8Linear, Int8Linear, pack_fp8, pack_int8
from kernels.eight_bit.choice import obstacle_to_int8

OBSTACLE = obstacle_to_int8(torch.device("cpu"), torch.float32)
DTYPES = (torch.float32, torch.bfloat16)
Pack = Callable[[torch.Tensor, torch.Tensor | None, torch.dtype], Int8Linear | Fp8Linear]


def in_fp8(weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> Fp8Linear:
    return pack_fp8(weight, bias, dtype, torch.device("cpu"))


@pytest.fixture(
    params=[
        pytest.param(
            pack_int8, marks=pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE)), id="int8"
        ),
        pytest.param(in_fp8, id="fp8"),
    ]
)
def pack(request: pytest.FixtureRequest) -> Pack:
    made: Pack = request.param
    return made


def draw(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_row_of_zeros_is_the_bias_and_what_is_not_finite_stays_in_its_row(
    pack: Pack, dtype: torch.dtype
) -> None:
    x, weight, bias = draw(5, 32).to(dtype), draw(16, 32, seed=1), draw(16, seed=2)
    layer = pack(weight, bias, dtype)
    clean = layer(x)
    x[1], x[3, 2] = 0.0, float("nan")
    made = layer(x)
    assert torch.equal(made[1], bias.to(dtype))
    assert made[3].isnan().all()
    assert torch.equal(made[[0, 2, 4]], clean[[0, 2, 4]])


def test_shapes_and_strides_are_the_caller_s(pack: Pack) -> None:
    layer, x = pack(draw(32, 16), None, torch.float32), draw(16, 4, 3).permute(1, 2, 0)
    assert layer(x).shape == (4, 3, 32)
    assert torch.equal(layer(x), layer(x.contiguous()))
    assert layer(x[:0]).shape == (0, 3, 32)

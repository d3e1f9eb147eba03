"""Linear layers in fp8. PyTorch's product takes the same call on a CPU, slowly: all but the GPU's sums is tested."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kernels.blocks import FusedBlocks
from kernels.eight_bit import CannotQuantise, pack_fp8, quantise_linears, reference
from kernels.eight_bit.choice import obstacle_to_fp8
from kernels.measure import relative_error
from tests.kernels.blocks.test_blocks import CASES

CPU = torch.device("cpu")
OBSTACLE = (
    obstacle_to_fp8(torch.device("cuda"), torch.bfloat16)
    if torch.cuda.is_available()
    else "this machine has no GPU"
)
DTYPES = (torch.float32, torch.bfloat16)
ROUNDED = {torch.float32: 1e-6, torch.bfloat16: 5e-3}
"""What the dtype of the results may add."""


def draw(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows, inputs, outputs", [(1, 16, 16), (3, 48, 32), (197, 768, 512)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_it_is_the_reference(rows: int, inputs: int, outputs: int, bias: bool, dtype: torch.dtype) -> None:
    x, weight = draw(rows, inputs).to(dtype), draw(outputs, inputs, seed=1)
    added = draw(outputs, seed=2).to(dtype) if bias else None
    made = pack_fp8(weight, added, dtype, CPU)(x)
    assert made.dtype == dtype
    assert relative_error(made, reference.fp8_linear(x, weight, added)) < ROUNDED[dtype]


@pytest.mark.gpu
@pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))
@pytest.mark.parametrize("rows, inputs, outputs", [(1, 16, 16), (197, 768, 3072), (1025, 4096, 1024)])
def test_a_gpu_s_sums_are_near_the_reference(rows: int, inputs: int, outputs: int) -> None:
    x, weight, bias = draw(rows, inputs).bfloat16(), draw(outputs, inputs, seed=1), draw(outputs, seed=2)
    made = pack_fp8(weight, bias, torch.bfloat16, torch.device("cuda"))(x.cuda())
    assert relative_error(made.cpu(), reference.fp8_linear(x, weight, bias.bfloat16())) < 1e-2


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_error_is_that_of_three_bits_of_mantissa(dtype: torch.dtype) -> None:
    x, weight = draw(197, 768).to(dtype), draw(512, 768, seed=1)
    error = relative_error(pack_fp8(weight, None, dtype, CPU)(x), x.float() @ weight.T)
    assert 0.02 < error < 0.05


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=20), st.sampled_from(DTYPES))
@settings(deadline=None)
def test_rows_of_any_size_side_by_side(magnitudes: list[float], dtype: torch.dtype) -> None:
    scale = torch.tensor(magnitudes).mul(2.0).exp2()[:, None]
    x, weight = (draw(len(magnitudes), 32) * scale).to(dtype), draw(16, 32, seed=1)
    made = pack_fp8(weight, None, dtype, CPU)(x)
    exact = reference.fp8_linear(x, weight, None)
    assert made.isfinite().all()
    for ours, theirs in zip(made, exact, strict=True):
        assert relative_error(ours, theirs) < 3 * ROUNDED[dtype]


@pytest.mark.parametrize("outputs, inputs", [(24, 16), (16, 24)])
def test_odd_widths_are_refused(outputs: int, inputs: int) -> None:
    with pytest.raises(
        CannotQuantise, match=f"from {inputs} to {outputs} numbers: fp8 takes multiples of 16"
    ):
        pack_fp8(draw(outputs, inputs), None, torch.bfloat16, CPU)


def test_modules_get_it_in_place() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.LayerNorm(32), nn.Sequential(nn.Linear(32, 48), nn.GELU(), nn.Linear(48, 32)))
    model.to(torch.bfloat16).requires_grad_(False)
    x = draw(9, 32).bfloat16()
    full = model(x)
    quantise_linears([model], "fp8")
    assert 0.01 < relative_error(model(x), full) < 0.08


def test_modules_without_a_linear_layer_are_refused() -> None:
    with pytest.raises(CannotQuantise, match="no linear layer"):
        quantise_linears([nn.Sequential(nn.Conv2d(3, 3, 1), nn.LayerNorm(3))], "fp8")


def test_blocks_of_a_cpu_do_not_take_it() -> None:
    with pytest.raises(ValueError, match="got 'fp8', allowed on a CPU are 'full' and 'int8'"):
        FusedBlocks(CASES[0].blocks(), torch.float32, "fp8")

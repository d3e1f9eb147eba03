"""Linear layers in int8: oneDNN's way against plain torch, hostile rows, and blocks and modules that use them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kernels.activation.reference import activate
from kernels.blocks import FusedBlocks
from kernels.blocks.fold import EPILOGUES, pack_linear
from kernels.blocks.reference import Affine
from kernels.eight_bit import pack_int8, quantise_linears, reference
from kernels.eight_bit.choice import obstacle_to_int8
from kernels.measure import relative_error
from tests.kernels.blocks.test_blocks import CASES, Case, chain

OBSTACLE = obstacle_to_int8(torch.device("cpu"), torch.float32)
can_run = pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))
DTYPES = (torch.float32, torch.bfloat16)
ROUNDED = {torch.float32: 1e-6, torch.bfloat16: 5e-3}
"""What the dtype of the results may add."""


def draw(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


@can_run
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "rows, inputs, outputs",
    [(1, 1, 1), (3, 17, 5), (128, 64, 96), (129, 48, 33), (300, 130, 257), (300, 2100, 9)],
)
def test_it_is_the_reference(rows: int, inputs: int, outputs: int, dtype: torch.dtype) -> None:
    x, weight, bias = draw(rows, inputs).to(dtype), draw(outputs, inputs, seed=1), draw(outputs, seed=2)
    made = pack_int8(weight, bias, dtype)(x)
    assert made.dtype == dtype
    assert relative_error(made, reference.int8_linear(x, weight, bias.to(dtype))) < ROUNDED[dtype]


@can_run
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_error_is_that_of_eight_bits(dtype: torch.dtype) -> None:
    x, weight = draw(197, 768).to(dtype), draw(512, 768, seed=1)
    error = relative_error(pack_int8(weight, None, dtype)(x), x.float() @ weight.T)
    assert 0.005 < error < 0.015


@can_run
@given(
    st.lists(st.floats(-30, 30), min_size=1, max_size=40),
    st.integers(1, 40),
    st.sampled_from(DTYPES),
)
@settings(deadline=None)
def test_rows_of_any_size_side_by_side(magnitudes: list[float], inputs: int, dtype: torch.dtype) -> None:
    """Rows from 1e-30 to 1e30 times the others, and none changes another."""
    scale = torch.tensor(magnitudes).mul(2.0).exp2()[:, None].clamp(1e-20, 1e20)
    x, weight = (draw(len(magnitudes), inputs) * scale).to(dtype), draw(7, inputs, seed=1)
    layer = pack_int8(weight, None, dtype)
    made = layer(x)
    for row, together in zip(x, made, strict=True):
        assert torch.equal(layer(row[None])[0], together)
    exact = reference.int8_linear(x, weight, None)
    for ours, theirs in zip(made, exact, strict=True):
        assert relative_error(ours, theirs) < 3 * ROUNDED[dtype]


@can_run
@pytest.mark.parametrize("value", [1.0, -1.0])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_largest_magnitude_does_not_wrap(value: float, dtype: torch.dtype) -> None:
    """Scales are rounded to bfloat16, and 127 steps of one that is too small would be 128."""
    x = torch.linspace(0.5, 2, 700)[:, None].to(dtype) * value
    made = pack_int8(torch.ones(1, 1), None, dtype)(x)
    assert relative_error(made, x) < 0.01


@can_run
@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
def test_activations_follow(activation: str) -> None:
    weight, bias, x = draw(32, 16, seed=1), draw(32, seed=2), draw(150, 16)
    made = pack_linear(Affine(weight, bias), torch.float32, EPILOGUES[activation], "int8")(x)
    exact = activate(reference.int8_linear(x, weight, bias), activation)  # type: ignore[arg-type]
    assert relative_error(made, exact) < 1e-6


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match="activation: got 'relu'"):
        pack_int8(draw(2, 2), None, torch.float32, ("relu", ""))(draw(1, 2))


@can_run
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_blocks_are_near_the_full_ones(case: Case, dtype: torch.dtype) -> None:
    blocks, hidden = case.blocks(), case.hidden_states()
    exact = chain(hidden, blocks, torch.float64)
    error = relative_error(FusedBlocks(blocks, dtype, "int8")(hidden.to(dtype)), exact)
    assert 1e-4 < error < 0.04


@can_run
def test_each_image_is_its_own() -> None:
    case = CASES[0]
    fused, hidden = FusedBlocks(case.blocks(), torch.float32, "int8"), case.hidden_states()
    together = fused(hidden.clone())
    for image, of_image in zip(hidden, together, strict=True):
        assert relative_error(fused(image[None].clone())[0], of_image) < 5e-3


@can_run
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_modules_get_it_in_place(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Linear(40, 24, bias=False))
    model = nn.Sequential(nn.LayerNorm(24), inner).to(dtype).requires_grad_(False)
    x = draw(9, 24).to(dtype)
    full = model(x)
    quantise_linears([model], "int8")
    assert [type(module).__name__ for module in inner] == ["EightBitModule", "GELU", "EightBitModule"]
    assert 1e-4 < relative_error(model(x), full) < 0.03

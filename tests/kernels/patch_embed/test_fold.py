"""The arithmetic of the fold, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.measure import relative_error
from kernels.patch_embed import fold_patch_embed, reference

if TYPE_CHECKING:
    from tests.kernels.patch_embed.conftest import Case

colours = st.tuples(*[st.floats(0, 1)] * 3)
spreads = st.tuples(*[st.floats(0.01, 10)] * 3)


@settings(max_examples=60)
@given(colours, spreads, st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 14]), st.booleans(), st.booleans())
def test_folding_any_normalisation_changes_nothing(
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    seed: int,
    patch: int,
    bias: bool,
    cls: bool,
) -> None:
    random = torch.Generator().manual_seed(seed)
    tiles = torch.randint(0, 256, (2, 2 * patch, 3 * patch, 3), dtype=torch.uint8, generator=random)

    def draw(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=random, dtype=torch.float64)

    layer = (
        draw(5, 3, patch, patch),
        draw(5) if bias else None,
        mean,
        std,
        draw(6 + cls, 5),
        draw(5) if cls else None,
    )
    folded = fold_patch_embed(*layer, dtype=torch.float32, device="cpu")
    chain = reference.unfused(tiles, *layer)
    # in fp32 a term may be far above the sum: a hundred times for the smallest spread
    scale = max(1.0, float(folded.offset.abs().max() / chain.norm() * chain.numel() ** 0.5))
    assert relative_error(reference.patch_embed(tiles, folded), chain) < 1e-6 * scale


def test_the_centre_halves_the_error_of_rounded_weights() -> None:
    """Why x − 128 and not x: a weight's rounding error is multiplied by the pixel it meets."""
    random = torch.Generator().manual_seed(3)
    weight = 0.02 * torch.randn(64, 3, 14, 14, generator=random)
    tiles = torch.randint(0, 256, (4, 56, 56, 3), dtype=torch.uint8, generator=random)
    layer = (weight, None, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), None, None)
    exact = reference.unfused(tiles, weight.double(), *layer[1:])
    folded = fold_patch_embed(*layer, dtype=torch.bfloat16, device="cpu", weight_dtype=torch.bfloat16)
    centred = relative_error(reference.patch_embed(tiles, folded), exact)

    unrounded = fold_patch_embed(*layer, dtype=torch.float32, device="cpu").weight[:, :588].double()
    pixels = reference.cut_patches(tiles, 14).flatten(3).flatten(1, 2).double()
    constant = exact - pixels @ unrounded.T  # of the fold without a centre, exact
    naive = relative_error(pixels @ unrounded.bfloat16().double().T + constant, exact)
    assert centred < 0.6 * naive


def test_padding_is_zero_and_rows_are_aligned(case: Case) -> None:
    folded = case.layer().fold(torch.float16, weight_dtype=torch.float16)
    assert folded.pixels == 3 * case.patch**2
    assert folded.weight.shape[1] % 64 == 0
    assert folded.weight.dtype == torch.float16
    assert folded.offset.dtype == torch.float32
    assert not folded.weight[:, folded.pixels :].any()


def test_repeated_frames_fold_into_one() -> None:
    """A Conv3d over two copies of a picture is a Conv2d with the sum of its frames."""
    random = torch.Generator().manual_seed(5)
    weight = torch.randn(24, 3, 2, 14, 14, generator=random, dtype=torch.float64)
    tiles = torch.randint(0, 256, (2, 28, 28, 3), dtype=torch.uint8, generator=random)
    mean, std = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
    folded = fold_patch_embed(weight, None, mean, std, None, None, dtype=torch.float32, device="cpu")
    assert folded.pixels == 588
    shift, scale = (255 * torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (mean, std))
    frame = reference.normalise(tiles, shift, scale)
    video = torch.stack([frame, frame], dim=2)  # [tiles, 3, frames, height, width]
    grid = torch.nn.functional.conv3d(video, weight, stride=(2, 14, 14))  # [tiles, hidden, 1, rows, columns]
    assert relative_error(reference.patch_embed(tiles, folded), grid.flatten(2).transpose(1, 2)) < 1e-6


def test_positions_may_be_a_grid() -> None:
    position = torch.randn(2, 3, 8)
    weight = torch.randn(8, 3, 14, 14)
    layer = (weight, None, (0.5,) * 3, (0.5,) * 3)
    tiles = torch.randint(0, 256, (1, 28, 42, 3), dtype=torch.uint8)
    grid, rows = (
        fold_patch_embed(*layer, p, None, dtype=torch.float32, device="cpu")
        for p in (position, position.reshape(6, 8))
    )
    assert grid.patches == 6
    assert torch.equal(reference.patch_embed(tiles, grid), reference.patch_embed(tiles, rows))


def test_the_fold_keeps_no_graph() -> None:
    weight = torch.nn.Parameter(torch.randn(8, 3, 14, 14))
    bias = torch.nn.Parameter(torch.randn(8))
    folded = fold_patch_embed(
        weight, bias, (0.5,) * 3, (0.5,) * 3, None, None, dtype=torch.float32, device="cpu"
    )
    assert not folded.weight.requires_grad
    assert not folded.offset.requires_grad


def broken(**changes: Any) -> Callable[[], object]:
    good: dict[str, Any] = {
        "weight": torch.zeros(8, 3, 14, 14),
        "bias": torch.zeros(8),
        "mean": (0.5,) * 3,
        "std": (0.5,) * 3,
        "position": torch.zeros(5, 8),
        "cls": torch.zeros(8),
        "dtype": torch.float32,
        "device": "cpu",
    }
    return lambda: fold_patch_embed(**{**good, **changes})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            broken(weight=torch.zeros(8, 588)),
            r"weight: got shape \[8, 588\], allowed are \[hidden, 3, P, P\]",
        ),
        (broken(weight=torch.zeros(8, 1, 14, 14)), r"weight: got shape \[8, 1, 14, 14\]"),
        (broken(weight=torch.zeros(8, 3, 14, 16)), r"weight: got shape \[8, 3, 14, 16\]"),
        (broken(bias=torch.zeros(9)), r"bias: got shape \[9\], must hold hidden=8 elements"),
        (broken(cls=torch.zeros(1, 1, 4)), r"cls: got shape \[1, 1, 4\], must hold hidden=8 elements"),
        (broken(mean=(0.5, 0.5)), "mean: got 2 values, must be 3"),
        (broken(std=(0.5, 0.0, 0.5)), r"std: got \[0.5, 0.0, 0.5\], each must be above 0"),
        (broken(position=torch.zeros(5, 9)), r"position: got shape \[5, 9\], allowed is \[..., 8\]"),
        (broken(position=torch.zeros(1, 8)), "and one in front for the class token"),
        (broken(dtype=torch.float64), "dtype: got torch.float64, allowed are torch.bfloat16"),
        (broken(weight_dtype=torch.int8), "weight_dtype: got torch.int8"),
    ],
)
def test_what_cannot_be_folded_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_the_fold_accepts_what_the_others_were_changed_from() -> None:
    broken()()

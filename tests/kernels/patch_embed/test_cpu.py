"""The CPU path against the exact chain, and the checks that all backends share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from kernels.measure import relative_error
from kernels.patch_embed import BackendUnavailable, patch_embed

if TYPE_CHECKING:
    from tests.kernels.patch_embed.conftest import Case

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
ROUNDING = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
"""Two units in the last place of the result; the sharper bound for bf16 is a test of its own."""


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_token_is_written_and_right(case: Case, dtype: torch.dtype) -> None:
    layer, tiles = case.layer(), case.pixels()
    out = case.poisoned(dtype)
    assert patch_embed(tiles, layer.fold(dtype), backend="cpu", out=out) is out
    assert relative_error(out, layer.exact(tiles)) < ROUNDING[dtype]


def test_many_tiles(many_tiles: Case) -> None:
    layer, tiles = many_tiles.layer(), many_tiles.pixels()
    tokens = patch_embed(tiles, layer.fold(torch.float32), backend="cpu")
    assert relative_error(tokens, layer.exact(tiles)) < ROUNDING[torch.float32]


@pytest.mark.parametrize("weight_dtype", [torch.float32, torch.bfloat16], ids=str)
def test_bf16_is_at_most_as_far_off_as_the_chain_in_bf16(case: Case, weight_dtype: torch.dtype) -> None:
    if case.hidden == 1:
        case = replace(case, tiles=500)  # two numbers have no statistics
    layer, tiles = case.layer(), case.pixels()
    exact = layer.exact(tiles)
    tokens = patch_embed(tiles, layer.fold(torch.bfloat16, weight_dtype=weight_dtype), backend="cpu")
    chain = relative_error(layer.to(torch.bfloat16).chain(tiles), exact)
    # the chain rounds once more where it adds positions; without them the two differ by chance alone
    assert relative_error(tokens, exact) <= chain * (1 if case.position else 1.02)


def test_the_class_token_sees_no_pixels(case: Case) -> None:
    folded = case.layer().fold(torch.float32)
    first = patch_embed(case.pixels(), folded, backend="cpu")[:, : case.cls]
    assert torch.equal(first, folded.offset[: case.cls].expand_as(first))


def strided(tiles: torch.Tensor, how: str) -> torch.Tensor:
    """The same pixels at other places in memory."""
    count, height, width, _ = tiles.shape
    if how == "crop":
        whole = torch.zeros(count, height + 3, width + 5, 3, dtype=torch.uint8)
        view = whole[:, 2 : 2 + height, 1 : 1 + width]
    elif how == "rgba":
        view = torch.zeros(count, height, width, 4, dtype=torch.uint8)[..., :3]
    elif how == "every second tile":
        view = torch.zeros(2 * count, height, width, 3, dtype=torch.uint8)[::2]
    else:
        view = torch.zeros(count, width, height, 3, dtype=torch.uint8).transpose(1, 2)
    return view.copy_(tiles)


@pytest.mark.parametrize("how", ["crop", "rgba", "every second tile", "transposed"])
def test_pixels_may_lie_at_any_stride(case: Case, how: str) -> None:
    folded, tiles = case.layer().fold(torch.float32), case.pixels()
    expected = patch_embed(tiles, folded, backend="cpu")
    assert torch.equal(patch_embed(strided(tiles, how), folded, backend="cpu"), expected)


def test_the_output_may_be_part_of_a_larger_one(case: Case) -> None:
    folded, tiles = case.layer().fold(torch.float32), case.pixels()
    count, tokens, hidden = case.shape
    pool = torch.full((count, tokens + 2, hidden + 8), float("nan"))
    patch_embed(tiles, folded, backend="cpu", out=pool[:, 1:-1, :hidden])
    assert torch.equal(pool[:, 1:-1, :hidden], patch_embed(tiles, folded, backend="cpu"))
    assert pool[:, 0].isnan().all()
    assert pool[:, -1].isnan().all()
    assert pool[..., hidden:].isnan().all()


def test_no_tiles_are_no_tokens(case: Case) -> None:
    folded = case.layer().fold(torch.float32)
    tokens = patch_embed(case.pixels()[:0], folded, backend="cpu")
    assert tokens.shape == (0, *case.shape[1:])


def test_packed_patches_are_one_tall_tile(case: Case) -> None:
    layer = case.layer()
    folded = type(layer)(layer.weight, layer.bias, None, None).fold(torch.float32)
    tiles = case.pixels()
    size = case.patch
    rows, columns = case.height // size, case.width // size
    packed = tiles.view(case.tiles, rows, size, columns, size, 3).transpose(2, 3).reshape(-1, size, size, 3)
    tall = patch_embed(packed.view(1, -1, size, 3), folded, backend="cpu")
    grid = patch_embed(tiles, folded, backend="cpu")
    assert relative_error(tall.view(grid.shape), grid) < 1e-6


GOOD = torch.zeros(2, 28, 28, 3, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("tiles", "message"),
    [
        (GOOD.float(), r"tiles: got torch.float32 \[2, 28, 28, 3\], must be torch.uint8 \[tiles, height"),
        (GOOD[0], r"tiles: got torch.uint8 \[28, 28, 3\]"),
        (GOOD.permute(0, 3, 1, 2), r"tiles: got torch.uint8 \[2, 3, 28, 28\]"),
        (torch.zeros(2, 3, 28, 28, dtype=torch.uint8).permute(0, 2, 3, 1), "the last must be 1"),
        (torch.zeros(1, 30, 42, 3, dtype=torch.uint8), r"30×42 pixels.*pass tiles\[:, :28, :42\]"),
        (torch.zeros(1, 13, 28, 3, dtype=torch.uint8), "got 13×28 pixels"),
        (torch.zeros(1, 28, 42, 3, dtype=torch.uint8), "2×3 = 6 patches, the folded positions are for 4"),
        (GOOD.to("meta"), "tiles: got a tensor on meta"),
    ],
)
def test_tiles_that_do_not_fit_are_named(plain: Case, tiles: torch.Tensor, message: str) -> None:
    folded = plain.layer().fold(torch.float32)
    with pytest.raises(ValueError, match=message):
        patch_embed(tiles, folded, backend="reference")


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (torch.zeros(2, 4, 96), r"out: got torch.float32 \[2, 4, 96\].*must be torch.float32 \[2, 5, 96\]"),
        (torch.zeros(2, 5, 96).half(), "out: got torch.float16"),
        (torch.zeros(2, 96, 5).transpose(1, 2), "rows of 96 elements must be contiguous and apart"),
        (torch.zeros(1, 5, 96).expand(2, 5, 96), r"strides \[0, 96, 1\]"),
        (torch.zeros(2, 1, 96).expand(2, 5, 96), r"strides \[96, 0, 1\]"),
    ],
)
def test_an_output_that_does_not_fit_is_named(plain: Case, out: torch.Tensor, message: str) -> None:
    folded = plain.layer().fold(torch.float32)
    with pytest.raises(ValueError, match=message):
        patch_embed(GOOD, folded, backend="cpu", out=out)


def test_no_backend_stands_in_for_another(plain: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(BackendUnavailable, match="CUDA devices only"):
        patch_embed(GOOD, plain.layer().fold(torch.float32), backend="triton")

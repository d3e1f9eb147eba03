from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.project import Merge
from kernels.project.gathered import gather
from kernels.project.reference import gather as by_index


@pytest.mark.parametrize(("side", "factor"), [(4, 2), (6, 2), (8, 4)])
def test_square_is_internvls_pixel_shuffle(side: int, factor: int) -> None:
    from transformers.models.internvl.modeling_internvl import InternVLModel

    states = torch.arange(3 * side * side * 5).view(3, side, side, 5)
    theirs = InternVLModel.pixel_shuffle(SimpleNamespace(), states, 1 / factor)
    ours = by_index(states.flatten(1, 2), Merge(factor), 0)
    assert torch.equal(ours, theirs.flatten(0, 2))


def test_given_is_what_qwens_merger_does() -> None:
    states = torch.arange(24 * 5).view(1, 24, 5)
    assert torch.equal(by_index(states, Merge(2, "given"), 0), states.view(-1, 4 * 5))


def test_tokens_in_front_are_left_out() -> None:
    states = torch.arange(2 * 10 * 3).view(2, 10, 3)
    assert torch.equal(by_index(states, Merge(), 1), states[:, 1:].flatten(0, 1))
    assert torch.equal(by_index(states, Merge(3), 1), states[:, 1:].flatten(1))


@given(st.integers(1, 4), st.integers(1, 3), st.sampled_from(["square", "given"]))
def test_every_patch_is_in_one_row(factor: int, times: int, order: Any) -> None:
    merge, patches = Merge(factor, order), (factor * times) ** 2
    taken = [merge.patch(r, p, patches) for r in range(merge.rows(patches)) for p in range(merge.parts)]
    assert sorted(taken) == list(range(patches))


@pytest.mark.parametrize("merge", [Merge(), Merge(2), Merge(3), Merge(2, "given")], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_copy_is_the_index(merge: Merge, dtype: torch.dtype) -> None:
    states = torch.randn(3, 37, 5)
    copied = gather(states[:, 1:], merge, dtype)
    assert torch.equal(copied, by_index(states, merge, 1).to(dtype))


def test_patches_that_already_lie_so_are_not_copied() -> None:
    states = torch.randn(2, 16, 5)
    assert gather(states, Merge(2, "given"), torch.float32).data_ptr() == states.data_ptr()
    assert gather(states[:1, 1:], Merge(), torch.float32).data_ptr() == states[0, 1].data_ptr()


@pytest.mark.parametrize(
    ("merge", "patches", "message"),
    [
        (Merge(2), 12, "got 12 patches in a tile, must be a square grid whose side is a multiple of 2"),
        (Merge(2), 25, "got 25 patches in a tile, must be a square grid"),
        (Merge(2, "given"), 10, "got 10 patches in a tile, must be a multiple of 4"),
    ],
)
def test_grids_that_do_not_divide_are_named(merge: Merge, patches: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        merge.rows(patches)


def test_what_cannot_be_a_merge_is_named() -> None:
    with pytest.raises(ValueError, match="factor: got 0, must be 1 or more"):
        Merge(0)
    with pytest.raises(ValueError, match="order: got 'z', allowed are 'square', 'given'"):
        Merge(2, "z")  # type: ignore[arg-type]

"""What a GPU copies from is in the plan, as much of it as PyTorch takes."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.runner.runner import SLOTS
from service.errors import ConfigurationError
from service.planning.pinned import RING, block
from service.planning.plan import make_plan
from service.planning.resources import GIB, MIB, Overrides
from tests.service.planning.test_plan import DEMO, H200, LAPTOP, LLAVA_7B


@given(st.integers(1, 2**40))
def test_a_block_is_the_next_power_of_two(size: int) -> None:
    taken = block(size)
    assert size <= taken < 2 * size
    assert taken & (taken - 1) == 0
    assert block(taken) == taken


def test_the_ring_is_the_runners() -> None:
    assert RING == SLOTS


def test_staged_tiles_take_a_ring_of_chunks_and_the_rows_of_two_batches() -> None:
    plan = make_plan(H200, LLAVA_7B, Overrides())
    # chunks of 16 tiles, 5.4 MB each; rows of 64 images, 302 MB
    assert plan.pinned_bytes == 3 * 8 * MIB + 2 * 512 * MIB
    assert "pinned      1.0 GiB of memory for copies to and from the GPU" in plan.lines


def test_what_goes_in_one_piece_takes_its_pixels_once() -> None:
    rows = 64 * 576 * 8192
    plain = make_plan(H200, LLAVA_7B, Overrides(encoder_copies="plain"))
    assert plain.pinned_bytes == 4 * rows
    packed = make_plan(H200, dataclasses.replace(LLAVA_7B, independent_tiles=False), Overrides())
    assert packed.pinned_bytes == 4 * rows + block(64 * 3 * 336**2)


def test_where_nothing_is_copied_nothing_is_pinned() -> None:
    assert make_plan(LAPTOP, DEMO, Overrides()).pinned_bytes == 0
    for overrides in (
        Overrides(images="passthrough"),
        Overrides(encoder_gpu="own", encoder_elsewhere=True),
    ):
        plan = make_plan(H200, LLAVA_7B, overrides)
        assert plan.pinned_bytes == 0 and "pinned" not in "\n".join(plan.lines)


def test_memory_that_does_not_hold_it_is_refused() -> None:
    wide = Overrides(encoder_batch_patches=600 * 577)
    assert make_plan(H200, LLAVA_7B, wide).pinned_bytes == 8 * GIB + 3 * 64 * MIB
    small = dataclasses.replace(H200, memory_bytes=10 * GIB, shared_memory_bytes=GIB)
    with pytest.raises(ConfigurationError, match=r"8\.2 GiB of pinned memory .*lower encoder_batch_patches"):
        make_plan(small, LLAVA_7B, wide)
    assert make_plan(small, LLAVA_7B, Overrides())

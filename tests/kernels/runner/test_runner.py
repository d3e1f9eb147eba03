"""The order of copies and compute, slots, graph_sizes and padding, on devices that stand in for a GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kernels.runner import CaptureFailed, Runner, attend
from tests.kernels.runner.fakes import FORM, Host, Late, expected, forward, tiles

COUNTS = (1, 7, 2, 12, 3, 30, 5, 1, 8)


def runner(device: Any, **options: Any) -> Runner:
    return Runner(forward, FORM, device, **{"most": 4, "graph_sizes": (1, 2, 3), **options})


def test_every_tile_gets_its_rows_whatever_the_batch() -> None:
    one = runner(Host())
    for seed, count in enumerate(COUNTS):
        pixels = tiles(count, seed)
        landed = one.run([pixels])
        assert torch.equal(landed.rows, expected(pixels))
        assert landed.finite.all()


@pytest.mark.parametrize("slots", [1, 2, 3])
@pytest.mark.parametrize("graph_sizes", [(), (1, 2, 4)])
@pytest.mark.parametrize("seed", range(8))
def test_copies_and_compute_may_drift_as_far_as_events_allow(
    seed: int, graph_sizes: tuple[int, ...], slots: int
) -> None:
    one = runner(Late(seed), graph_sizes=graph_sizes, slots=slots)
    kept = [(tiles(count, count), one.run([tiles(count, count)])) for count in COUNTS]
    for pixels, landed in kept:  # a later batch touches nothing of an earlier one
        assert torch.equal(landed.rows, expected(pixels))
        assert landed.finite.all()


def test_without_events_the_same_devices_get_it_wrong() -> None:
    """So that the test above proves something."""
    right = [
        torch.equal(runner(Late(seed, deaf=True)).run([tiles(30)]).rows, expected(tiles(30)))
        for seed in range(8)
    ]
    assert not any(right)


def test_views_follow_each_other() -> None:
    views = [
        tiles(3, 1),
        tiles(1, 2),
        tiles(6, 3)[::2],
        tiles(2, 4).transpose(1, 2).contiguous().transpose(1, 2),
    ]
    landed = runner(Host()).run(views)
    assert torch.equal(landed.rows, expected(torch.cat(views)))


def test_a_tile_whose_rows_are_not_finite_is_named() -> None:
    pixels = tiles(9)
    pixels[[2, 7], 0, 0, 0] = 255
    landed = runner(Host()).run([pixels])
    assert landed.finite.tolist() == [tile not in (2, 7) for tile in range(9)]
    # what a tile was padded with does not count, nor does what lay there before
    assert runner(Host()).run([pixels[:2]]).finite.all()


def test_a_chunk_replays_the_next_rung_and_runs_itself_above_the_largest() -> None:
    device = Host()
    one = runner(device, most=8, graph_sizes=(1, 2, 4))
    one.run([tiles(1)])
    assert device.captured == 3
    assert device.replayed == [2]  # captured from the largest down
    for count in (3, 4, 2, 5, 8):
        one.run([tiles(count)])
    assert device.replayed == [2, 0, 0, 1]


def test_padding_changes_no_row() -> None:
    """The same tiles alone, padded with what an earlier batch left, and uncaptured."""
    pixels = tiles(3, 5)
    plain = runner(Host(), graph_sizes=()).run([pixels]).rows
    padded = runner(Host(), graph_sizes=(4,))
    first = padded.run([pixels]).rows
    padded.run([tiles(4, 6)])
    assert torch.equal(first, plain)
    assert torch.equal(padded.run([pixels]).rows, plain)


def test_memory_is_taken_once() -> None:
    device = Host()
    one = runner(device)
    one.run([tiles(9)])
    taken = list(device.taken)
    for count in COUNTS:
        one.run([tiles(count)])
    assert device.taken == taken


def test_a_failing_batch_leaves_the_next_one_alone() -> None:
    fails = [False, False]  # the warm-up, and the first chunk

    def sometimes(pixels: torch.Tensor, out: torch.Tensor) -> None:
        if fails and fails.pop():
            raise torch.OutOfMemoryError("none left")
        forward(pixels, out)

    device = Late(3)
    one = Runner(sometimes, FORM, device, most=4)
    one.run([tiles(4)])
    fails[:] = [True, False]
    with pytest.raises(torch.OutOfMemoryError):
        one.run([tiles(20)])
        device.settle()
    fails.clear()
    for count in COUNTS:
        assert torch.equal(one.run([tiles(count)]).rows, expected(tiles(count)))


def test_a_capture_that_fails_is_told_and_tried_anew() -> None:
    class Refusing(Host):
        def capture(self, call: Any) -> Any:
            raise RuntimeError("operation not permitted when stream is capturing")

    one = runner(Refusing())
    for _ in range(2):
        with pytest.raises(CaptureFailed, match="RuntimeError: operation not permitted"):
            one.run([tiles(1)])


def test_a_capture_that_fails_tells_what_broke_it() -> None:
    """As CUDA does it: the call raises, and so does the capture when it is left."""

    class Leaving(Host):
        def capture(self, call: Any) -> Any:
            try:
                raise ValueError("the forward asks the host")
            finally:
                raise RuntimeError("capture invalidated")

    message = "RuntimeError: capture invalidated, after ValueError: the forward asks the host"
    with pytest.raises(CaptureFailed, match=message):
        runner(Leaving()).run([tiles(1)])


@pytest.mark.parametrize(
    ("views", "message"),
    [
        (
            [torch.zeros(2, 2, 3, 3)],
            r"tiles: got torch.float32 \[2, 2, 3, 3\], must be torch.uint8 \[tiles, 2, 3",
        ),
        ([tiles(2), torch.zeros(1, 3, 3, 3, dtype=torch.uint8)], r"got torch.uint8 \[1, 3, 3, 3\]"),
        ([tiles(0)], "tiles: got none"),
    ],
)
def test_tiles_of_another_form_are_refused(views: list[torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        runner(Host()).run(views)


@pytest.mark.parametrize(
    "options", [{"most": 0}, {"slots": 0}, {"graph_sizes": (2, 1)}, {"graph_sizes": (1, 9)}]
)
def test_a_runner_that_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        runner(Host(), **options)


def test_attention_is_the_one_that_was_asked_for() -> None:
    query = torch.randn(1, 2, 4, 8)
    with attend("math"):
        assert not torch.backends.cuda.flash_sdp_enabled()
        torch.nn.functional.scaled_dot_product_attention(query, query, query)
    assert torch.backends.cuda.flash_sdp_enabled()
    with attend("auto"):
        assert torch.backends.cuda.flash_sdp_enabled()
    with pytest.raises(ValueError, match="attention: got 'fast', allowed are 'auto', 'flash'"):
        attend("fast")  # type: ignore[arg-type]

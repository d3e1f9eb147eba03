"""What is staged and captured, by the plan; and batches through the runner, in the encoder, without a GPU."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from kernels.runner import Runner
from service.encoder.local import _staged
from service.encoder.staging import Runs, choose_runs, make_runner
from service.errors import ConfigurationError
from service.families.towers import TileTower
from service.planning.plan import make_plan
from service.planning.resources import MIB, Overrides, ResourcePlan
from tests.kernels.runner.fakes import Host, Late
from tests.service.families.checkpoints import tower_of
from tests.service.planning.test_plan import DEMO, H200, LAPTOP, LLAVA_7B
from tests.service.tiny_internvl import random_tiles, tiled, write_checkpoint


def runs(plan: ResourcePlan, *, independent_tiles: bool = True, copies: str = "auto") -> Runs | None:
    return choose_runs(plan, independent_tiles=independent_tiles, copies=copies)


def test_by_default_every_size_of_chunk_on_a_gpu_has_a_graph() -> None:
    assert runs(make_plan(H200, LLAVA_7B, Overrides())) == Runs(16, (1, 2, 3, 4, 6, 8, 12, 16))
    many = runs(make_plan(H200, DEMO, Overrides()))
    assert many is not None and many.most == many.graph_sizes[-1] == 145


def test_less_memory_is_fewer_graphs() -> None:
    plan = make_plan(H200, LLAVA_7B, Overrides(encoder_graph_bytes=100 * MIB))
    few = runs(plan)
    assert few is not None and 0 < len(few.graph_sizes) < 8
    assert few.graph_sizes[-1] * plan.tile_bytes < 100 * MIB
    assert str(few) == "staged in chunks of up to 16 tiles, CUDA graphs for 1, 2, 3"
    none = runs(make_plan(H200, LLAVA_7B, Overrides(encoder_graph_bytes=0)))
    assert str(none) == "staged in chunks of up to 16 tiles, no CUDA graphs"


def test_a_cpu_plain_copies_and_tiles_that_see_each_other_are_not_staged() -> None:
    gpu = make_plan(H200, LLAVA_7B, Overrides())
    assert runs(make_plan(LAPTOP, DEMO, Overrides())) is None
    assert runs(gpu, copies="plain") is None
    assert runs(gpu, independent_tiles=False) is None
    with pytest.raises(
        ConfigurationError, match="encoder_copies=staged is for towers that compute each tile"
    ):
        runs(gpu, independent_tiles=False, copies="staged")


def test_on_a_cpu_there_is_no_runner(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tower = tower_of(tmp_path, device="cpu", dtype="float32")
    assert make_runner(tower, make_plan(LAPTOP, DEMO, Overrides()), copies="auto") is None


@pytest.mark.parametrize("graph_sizes", [(), (1, 2, 3)])
def test_the_tower_through_the_runner_is_the_tower(tmp_path: Path, graph_sizes: tuple[int, ...]) -> None:
    """The same buffers, order and padding as on a GPU, with the tower that the service runs."""
    write_checkpoint(tmp_path)
    tower = tower_of(tmp_path, device="cpu", dtype="float32")
    assert isinstance(tower, TileTower)
    runner = Runner(tower.forward, tower.tile_shape, Late(5), most=3, graph_sizes=graph_sizes)
    images = [
        tiled(random_tiles(4, seed=1), random_tiles(1, seed=2)),
        tiled(random_tiles(1, seed=3)),
        tiled(random_tiles(2, seed=4), random_tiles(1, seed=5)),
    ]
    for batch in (images, images[1:2], images[::-1]):
        for ours, theirs in zip(_staged(runner, batch), tower.encode(batch), strict=True):
            assert ours.finite
            assert (ours.values - theirs).norm() < 1e-6 * theirs.norm()


def test_what_is_not_finite_fails_its_image_alone(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tower: Any = tower_of(tmp_path, device="cpu", dtype="float32")

    def spoilt(tiles: torch.Tensor, out: torch.Tensor) -> None:
        tower.forward(tiles, out)
        out.view(len(tiles), -1)[tiles[:, 0, 0, 0] == 7, -1] = float("nan")

    images = [tiled(random_tiles(2, seed=seed)) for seed in range(3)]
    for image in images:
        image.tiles[0][:, 0, 0, 0] = 0
    images[1].tiles[0][1, 0, 0, 0] = 7
    rows = _staged(Runner(spoilt, tower.tile_shape, Host(), most=4, graph_sizes=(1, 2)), images)
    assert [one.finite for one in rows] == [True, False, True]


def test_a_capture_that_fails_names_the_settings(tmp_path: Path) -> None:
    def failing(tiles: torch.Tensor, out: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    write_checkpoint(tmp_path)
    tower: Any = tower_of(tmp_path, device="cpu", dtype="float32")
    runner = Runner(failing, dataclasses.replace(tower.tile_shape), Host(), most=4, graph_sizes=(1, 2))
    with pytest.raises(
        ConfigurationError, match="for up to 2 tiles .*out of memory.* lower encoder_graph_bytes"
    ):
        _staged(runner, [tiled(random_tiles(1))])

"""The committed configurations, compiled for GPUs that are not here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kernels.patch_embed.configs import EXACT, FLAT, TENSOR_CORES, Config, choose, programs
from kernels.patch_embed.fold import ALIGNMENT
from tests.kernels.compiled import oversized, rows, spilling


@pytest.fixture(scope="module")
def compiled(shared: Path) -> list[dict[str, Any]]:
    return rows("kernels.patch_embed.aot", shared)


def test_nothing_spills(compiled: list[dict[str, Any]]) -> None:
    assert spilling(compiled) == []


def test_a_multiprocessor_holds_a_program_of_every_kind(compiled: list[dict[str, Any]]) -> None:
    assert oversized(compiled) == []


def test_a_multiprocessor_holds_two_programs_of_shapes_that_overlap(compiled: list[dict[str, Any]]) -> None:
    """Of sm_90: 65536 registers and 227 KB, of which each program takes one for itself."""
    flat = [row for row in compiled if row["config"]["flat"]]
    assert [Config(**row["config"]) for row in flat] == list(FLAT[90])
    for row in flat[1:]:
        assert 2 * row["registers"] * 32 * row["config"]["warps"] <= 65536, row
        assert 2 * (row["shared_bytes"] + 1024) <= 227 * 1024, row


def test_every_architecture_and_patch_size_is_compiled(compiled: list[dict[str, Any]]) -> None:
    bf16 = {(row["architecture"], row["patch_size"]) for row in compiled if row["dtype"] == "bf16"}
    assert bf16 == {(architecture, patch) for architecture in (80, 90, 100) for patch in (14, 16, 32)}


def test_bf16_runs_on_tensor_cores_and_fp32_does_not(compiled: list[dict[str, Any]]) -> None:
    for row in compiled:
        assert (row["tensor_core_instructions"] > 0) == (row["dtype"] == "bf16"), row


def test_the_weights_need_no_mask_along_k() -> None:
    for choice in (EXACT, *TENSOR_CORES.values()):
        for config in (choice.many, choice.few):
            assert ALIGNMENT % config.block_k == 0


@pytest.mark.parametrize(
    ("capability", "tiles", "expected"),
    [
        (90, 1, TENSOR_CORES[90].few),
        (90, 64, TENSOR_CORES[90].many),
        (89, 64, TENSOR_CORES[80].many),
        (120, 64, TENSOR_CORES[100].many),
    ],
)
def test_blocks_follow_the_gpu_and_the_work(capability: int, tiles: int, expected: object) -> None:
    assert choose(capability, 132, tiles, 577, 1024, tensor_cores=True) is expected


def test_fp32_has_blocks_of_its_own() -> None:
    assert choose(90, 132, 64, 577, 1024, tensor_cores=False) is EXACT.many


def test_programs_cover_what_is_left_over() -> None:
    config = TENSOR_CORES[90].many
    assert programs(config, 3, 129, 1) == 3 * 2 * 1
    # 64 tiles of 576 patches fill 288 blocks; their class tokens are in one more
    assert programs(config, 64, 577, 1024, flat_prefix=1) == (288 + 1) * 8
    assert programs(config, 64, 577, 1024) == 64 * 5 * 8
    assert programs(config, 2, 65, 1, flat_prefix=0) == 2

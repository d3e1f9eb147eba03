"""The committed configurations, compiled for GPUs that are not here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kernels.project import configs
from kernels.project.configs import EXACT, TENSOR_CORES, choose, entry, programs
from kernels.project.fold import ALIGNMENT
from tests.kernels.compiled import oversized, rows, spilling


@pytest.fixture(scope="module")
def compiled(shared: Path) -> list[dict[str, Any]]:
    return rows("kernels.project.aot", shared)


def test_nothing_spills(compiled: list[dict[str, Any]]) -> None:
    assert spilling(compiled) == []


def test_a_multiprocessor_holds_a_program_of_every_kind(compiled: list[dict[str, Any]]) -> None:
    assert oversized(compiled) == []


def test_every_architecture_and_layer_is_compiled(compiled: list[dict[str, Any]]) -> None:
    bf16 = {(row["architecture"], row["layer"]) for row in compiled if row["dtype"] == "bf16"}
    layers = ("LLaVA linear 1", "InternVL linear 1", "Qwen2.5-VL linear 1", "linear 2, placed", "statistics")
    assert bf16 == {(architecture, layer) for architecture in (80, 90, 100) for layer in layers}


def test_bf16_products_run_on_tensor_cores_and_nothing_else_does(compiled: list[dict[str, Any]]) -> None:
    for row in compiled:
        multiplies = row["dtype"] == "bf16" and row["layer"] != "statistics"
        assert (row["tensor_core_instructions"] > 0) == multiplies, row


def test_the_weights_need_no_mask_along_k() -> None:
    for choice in (EXACT, *TENSOR_CORES.values()):
        for config in (choice.many, choice.few):
            assert ALIGNMENT % config.block_k == 0


@pytest.mark.parametrize(
    ("capability", "tensor_cores", "expected"),
    [(75, True, 80), (80, True, 80), (89, True, 80), (90, True, 90), (120, True, 100), (90, False, None)],
)
def test_the_table_follows_the_gpu(capability: int, tensor_cores: bool, expected: int | None) -> None:
    wanted = EXACT if expected is None else TENSOR_CORES[expected]
    assert entry(capability, tensor_cores=tensor_cores) is wanted


@pytest.mark.parametrize(("rows", "expected"), [(576, "few"), (64 * 576, "many")])
def test_blocks_follow_the_work(rows: int, expected: str) -> None:
    choice = TENSOR_CORES[90]
    assert choose(choice, 200, rows, 4096) is getattr(choice, expected)


def test_programs_cover_what_is_left_over() -> None:
    assert programs(configs.TENSOR_CORES[90].many, 129, 1) == 2

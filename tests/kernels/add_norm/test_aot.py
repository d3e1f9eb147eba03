"""The kernel compiled for GPUs that are not here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kernels.add_norm.aot import TOWERS
from tests.kernels.compiled import rows, spilling


@pytest.fixture(scope="module")
def compiled(shared: Path) -> list[dict[str, Any]]:
    return rows("kernels.add_norm.aot", shared)


def test_nothing_spills_and_a_multiprocessor_holds_as_many_threads_as_it_can(
    compiled: list[dict[str, Any]],
) -> None:
    assert spilling(compiled) == []
    assert [row for row in compiled if row["registers"] > 32] == []


def test_every_architecture_and_tower_is_compiled(compiled: list[dict[str, Any]]) -> None:
    bf16 = {(row["architecture"], row["name"]) for row in compiled if row["dtype"] == "bf16"}
    assert bf16 == {(architecture, tower) for architecture in (80, 90, 100) for tower in TOWERS}

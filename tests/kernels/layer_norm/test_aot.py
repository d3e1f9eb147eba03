"""The kernel compiled for GPUs that are not here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.kernels.compiled import rows, spilling


@pytest.fixture(scope="module")
def compiled(shared: Path) -> list[dict[str, Any]]:
    return rows("kernels.layer_norm.aot", shared)


def test_nothing_spills(compiled: list[dict[str, Any]]) -> None:
    assert spilling(compiled) == []


def test_every_architecture_and_width_is_compiled(compiled: list[dict[str, Any]]) -> None:
    bf16 = {(row["architecture"], row["width"]) for row in compiled if row["dtype"] == "bf16"}
    assert bf16 == {
        (architecture, width) for architecture in (80, 90, 100) for width in (768, 1024, 1280, 1664)
    }

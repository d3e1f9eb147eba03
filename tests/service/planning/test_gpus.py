from __future__ import annotations

import pytest

from service.errors import ConfigurationError
from service.planning.gpus import DATA_SHEETS, data_sheet


def test_a_data_sheet_is_found_by_any_case() -> None:
    assert data_sheet("H200") is DATA_SHEETS["h200"]
    assert data_sheet("h200").gpu.memory_bytes == 143_771 * 1024**2


def test_an_unknown_gpu_is_told_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="gpu: got 'h300'; known GPUs are b200, h200"):
        data_sheet("h300")


@pytest.mark.parametrize("name", DATA_SHEETS)
def test_units_are_right(name: str) -> None:
    """A GPU of today: tens to thousands of teraflops, hundreds to thousands of gigabytes a second."""
    sheet = DATA_SHEETS[name]
    assert 2e10 < sheet.gpu.memory_bytes < 3e11
    assert 5e13 < sheet.flops < 5e15
    assert 2e11 < sheet.bandwidth < 2e13

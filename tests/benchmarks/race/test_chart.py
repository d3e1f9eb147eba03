"""The chart's ratios are above one where Patchbay is ahead, of rates and of times alike."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.race.chart import draw, ratios


def row(scenario: str, server: str, rate: float, p50: float) -> dict[str, str]:
    return {"scenario": scenario, "server": server, "per_second": str(rate), "p50": str(p50)}


ROWS = [
    row("text", "patchbay", 40, 50),
    row("text", "vllm, tuned", 50, 40),
    *(row("pictures", "patchbay", rate, 100) for rate in (1, 3, 50)),
    row("pictures", "vllm, tuned", 2, 200),
    row("pictures", "vllm, default", 1, 400),
]


def test_ratios_are_of_the_medians_and_above_one_where_patchbay_is_ahead() -> None:
    assert ratios(ROWS, "per_second") == {
        "text": {"vllm, tuned": pytest.approx(0.8)},
        "pictures": {"vllm, tuned": pytest.approx(1.5), "vllm, default": pytest.approx(3)},
    }
    assert ratios(ROWS, "p50") == {
        "text": {"vllm, tuned": pytest.approx(0.8)},
        "pictures": {"vllm, tuned": pytest.approx(2), "vllm, default": pytest.approx(4)},
    }


def test_a_peer_that_has_finished_nothing_has_no_ratio() -> None:
    rows = [*ROWS, row("galleries", "patchbay", 1, 50), row("galleries", "vllm, tuned", 0, math.inf)]
    assert ratios(rows, "per_second")["galleries"] == ratios(rows, "p50")["galleries"] == {}


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    rows = [*ROWS, row("galleries", "patchbay", 1, 50), row("galleries", "vllm, tuned", 0, math.inf)]
    draw(rows, tmp_path / "race.png")
    with Image.open(tmp_path / "race.png") as picture:
        assert picture.width > 1000 and len(picture.convert("RGB").getcolors(maxcolors=1 << 20) or []) > 20

"""Pictures of the dashboards: with their own queries, of every kind of panel, of what was recorded."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import numpy as np
import pytest
from PIL import Image

from helm.dashboards.draw import draw_row
from helm.dashboards.paint import DRAW, told
from helm.dashboards.queries import boards, panels, ready
from helm.dashboards.recording import Recording

ROWS = {
    (name, row): [panel for _, panel in members]
    for name, board in boards().items()
    for row, members in groupby(panels(board), key=lambda pair: pair[0])
}
EVERY_KIND = [
    ("overview", "Objectives"),
    ("overview", "Traffic"),
    ("stages", "Waterfall"),
    ("encoder", "Batches"),
]


class Recorded:
    """Answers every query with two series, and remembers what it was asked."""

    def __init__(self, *values: str) -> None:
        self.asked: list[dict[str, str]] = []
        self._values = values

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append({key: value for key, (value,) in parse_qs(request.content.decode()).items()})
        values = [[1000 + 10 * index, value] for index, value in enumerate(self._values)]
        labels = ({"le": "1.0", "code": "200"}, {"le": "+Inf", "code": "503"})
        result = [{"metric": some, "values": values} for some in labels] if values else []
        return httpx.Response(200, json={"status": "success", "data": {"result": result}})


def picture(row: tuple[str, str], recorded: Recorded, file: Path) -> np.ndarray:
    with httpx.Client(base_url="http://prometheus", transport=httpx.MockTransport(recorded)) as client:
        draw_row(ROWS[row], Recording(client, 1000, 1240, "30s"), file)
    return np.asarray(Image.open(file).convert("RGB"))


def test_every_kind_of_panel_can_be_drawn() -> None:
    kinds = {panel["type"] for members in ROWS.values() for panel in members}
    assert kinds == set(DRAW) == {panel["type"] for row in EVERY_KIND for panel in ROWS[row]}


@pytest.mark.parametrize("row", EVERY_KIND, ids=lambda row: "-".join(row))
def test_a_row_shows_what_its_queries_found(row: tuple[str, str], tmp_path: Path) -> None:
    recorded = Recorded("0.2", "NaN", "0.7", "0.4")
    pixels = picture(row, recorded, tmp_path / "some.png")
    wanted = [ready(target["expr"], "30s") for panel in ROWS[row] for target in panel["targets"]]
    assert [asked["query"] for asked in recorded.asked] == wanted
    assert {(asked["start"], asked["end"], asked["step"]) for asked in recorded.asked} == {
        ("1000", "1240", "1.000")
    }
    empty = picture(row, Recorded(), tmp_path / "none.png")
    assert pixels.shape == empty.shape and (pixels != empty).any(axis=2).mean() > 0.005


def test_a_value_above_a_threshold_has_its_colour(tmp_path: Path) -> None:
    def red(value: str) -> int:
        pixels = picture(("encoder", "Now"), Recorded(value, value), tmp_path / "now.png").astype(int)
        return int(((pixels[..., 0] > 200) & (pixels[..., 1] < 110)).sum())

    assert red("0.1") == 0
    assert red("200") > 100


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.25, "percentunit", "25 %"),
        (0.0042, "s", "4.2 ms"),
        (2.5, "s", "2.5 s"),
        (2_500_000, "bytes", "2.5 MB"),
        (1234, "ops", "1.23 k/s"),
        (3, "none", "3"),
        (float("nan"), "s", "–"),
    ],
)
def test_numbers_are_told_in_their_unit(value: float, unit: str, text: str) -> None:
    assert told(value, unit) == text

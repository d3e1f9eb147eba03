"""The dashboards: made by the code that is here, laid out without gaps, and about metrics that exist."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from helm.dashboards.files import FILES, made
from helm.dashboards.queries import boards, panels, targets
from helm.dashboards.slo import FIRST_TOKEN_SECONDS
from service.telemetry.catalogue import FIRST_TOKEN_BUCKETS
from tests.helm.charts import objects
from tests.helm.names import known, selected
from tests.prometheus import ROOT, RULES

BOARDS = boards()
MADE = made()
WIDTH = 24


@pytest.mark.parametrize("path", MADE, ids=lambda path: path.name)
def test_what_is_committed_is_what_the_code_makes(path: Path) -> None:
    assert path.read_text() == MADE[path], "run `make docs`"


def test_every_dashboard_is_there_and_nothing_else() -> None:
    assert {f"{name}.json" for name in BOARDS} == {file.name for file in (FILES / "dashboards").iterdir()}
    assert set(BOARDS) == {"overview", "stages", "encoder", "cache", "engine"}
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS)


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_panels_have_ids_and_titles_of_their_own(board: Any) -> None:
    ids = [panel["id"] for panel in board["panels"]]
    assert ids == list(range(1, len(ids) + 1))
    for (row, title), count in Counter((row, panel["title"]) for row, panel in panels(board)).items():
        assert count == 1, f"{row}: {title}"


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_every_cell_of_the_grid_belongs_to_one_panel(board: Any) -> None:
    cells = Counter(
        (column, line)
        for panel in board["panels"]
        for place in [panel["gridPos"]]
        for column in range(place["x"], place["x"] + place["w"])
        for line in range(place["y"], place["y"] + place["h"])
    )
    height = 1 + max(line for _, line in cells)
    assert cells == Counter((column, line) for column in range(WIDTH) for line in range(height))


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_panels_say_what_they_show(board: Any) -> None:
    for _, panel in panels(board):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        refs = [target["refId"] for target in panel["targets"]]
        assert refs and len(set(refs)) == len(refs)
        if len(refs) > 1:
            assert all(target["legendFormat"] for target in panel["targets"]), panel["title"]


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_the_variables_choose_in_every_query(board: Any) -> None:
    assert [variable["name"] for variable in board["templating"]["list"]] == [
        "datasource",
        "namespace",
        "release",
        "model",
        "instance",
    ]
    for _, panel in panels(board):
        for target in panel["targets"]:
            for selector in re.findall(r"(?:patchbay_|vllm:)\w+(\{[^}]*\})?", target["expr"]):
                assert 'service=~"$release", instance=~"$instance"' in selector, target["expr"]
            for selector in re.findall(r"patchbay:[\w:]+(\{[^}]*\})", target["expr"]):
                assert 'service=~"$release"' in selector, target["expr"]


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_each_variable_is_chosen_among_what_the_ones_before_it_leave(board: Any) -> None:
    asked = {variable["name"]: variable["query"] for variable in board["templating"]["list"][1:]}
    for index, name in enumerate(asked):
        assert all(f'=~"${before}"' in asked[name] for before in list(asked)[:index]), name
    (instance,) = [entry for entry in board["templating"]["list"] if entry["name"] == "instance"]
    # all instances are those of the chosen model, not every one that there is
    assert "allValue" not in instance


def test_a_ratio_of_several_releases_is_weighted_by_traffic() -> None:
    weighted = 0
    for _, panel in panels(BOARDS["overview"]):
        for target in panel["targets"]:
            assert "avg(" not in target["expr"], panel["title"]
            for ratio, window in re.findall(r"patchbay:(\w+):error_ratio_(\w+)", target["expr"]):
                assert f"patchbay:{ratio}:events_{window}" in target["expr"]
                weighted += 1
    assert weighted == 4


def test_rates_of_tokens_images_and_patches_have_their_units() -> None:
    units = {
        panel["title"]: panel["fieldConfig"]["defaults"]["unit"]
        for board in BOARDS.values()
        for _, panel in panels(board)
    }
    for title, unit in {
        "Soft tokens": "tokens",
        "Tokens": "tokens",
        "Prompt and answer": "tokens",
        "Patches per second": "patches",
        "Reduced": "images",
        "Images": "images",
        "Lookups": "images",
        "Evictions": "images",
    }.items():
        assert units[title] == f"suffix: {unit}/s", title


def test_every_metric_and_label_of_a_query_exists() -> None:
    there = known()
    for target in targets():
        for name, labels in selected(target.expr):
            assert name in there, f"{target.board}, {target.panel}: {name}"
            assert labels <= there[name] | {"namespace", "service", "instance"}, (
                f"{target.board}, {target.panel}: {labels}"
            )


def test_the_objective_for_first_tokens_is_a_bucket() -> None:
    assert FIRST_TOKEN_SECONDS in FIRST_TOKEN_BUCKETS
    (text,) = [file.read_text() for file in RULES if file.stem == "slo"]
    assert set(re.findall(r'le="([^"]+)"', text)) == {str(FIRST_TOKEN_SECONDS)}


def test_the_makefile_makes_them() -> None:
    assert "python -m helm.dashboards\n" in (ROOT / "Makefile").read_text()


def test_the_chart_hands_them_on_as_they_are() -> None:
    data = objects({"dashboards": {"enabled": True}})["dashboards.yaml"]["data"]
    assert {name.removesuffix(".json"): json.loads(text) for name, text in data.items()} == BOARDS

"""What tests tell of families is kept, by family, beside what earlier runs found."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from service.families.registry import FOLDERS
from tests.service.families import figures


def test_what_reports_tell_takes_the_place_of_the_same_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "FILE", tmp_path / "figures.json")
    assert figures.kept() == {}
    properties: list[tuple[str, object]] = [("client", "other")]
    tell = figures.teller(lambda name, value: properties.append((name, value)))
    tell("llava", "counts", "5 of 5")
    tell("llava", "load", "3 of 4")
    figures.keep(figures.gathered([SimpleNamespace(user_properties=properties)]))
    figures.keep({"llava": {"load": "4 of 4"}, "gemma3": {"counts": "1 of 1"}})
    assert figures.kept() == {
        "gemma3": {"counts": "1 of 1"},
        "llava": {"counts": "5 of 5", "load": "4 of 4"},
    }


def test_what_is_not_measured_cannot_be_told() -> None:
    with pytest.raises(KeyError):
        figures.teller(lambda name, value: None)("llava", "beauty", "much")


def test_what_is_kept_is_of_families_that_there_are() -> None:
    found = figures.kept()
    assert found.keys() <= FOLDERS.keys()
    assert all(measured.keys() <= figures.MEASURED.keys() for measured in found.values())

"""Each API's client reads the same text from one answer of the engine's, and a turn measures every API once."""

from __future__ import annotations

import pytest

from benchmarks import translation
from benchmarks.translation import APIS, EVENTS, in_turns, main, written


@pytest.mark.parametrize("name", APIS)
def test_every_api_writes_every_token(name: str) -> None:
    assert written(APIS[name]) == "".join(f"word{number} " for number in range(EVENTS))


def test_every_api_is_measured_in_every_turn_and_none_is_always_first() -> None:
    seen: list[str] = []
    found = in_turns(lambda api: seen.append(api.path) or 1.0, 2)
    assert found == dict.fromkeys(APIS, 1.0)
    assert seen[:3] == seen[:2:-1]


def test_no_times_are_reported_where_texts_differ(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = APIS["Messages"]._replace(text=lambda event: "")
    monkeypatch.setitem(translation.APIS, "Messages", broken)
    monkeypatch.setattr("sys.argv", ["translation"])
    assert main() == 1
    assert capsys.readouterr().out == ""

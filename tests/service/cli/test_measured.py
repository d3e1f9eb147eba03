"""What one replica sustains, as the load tests write it down and as `patchbay plan` reads it."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests import figures as f
from loadtests.figures import Figures
from loadtests.flags import add_options, from_namespace
from loadtests.plans import Stage
from loadtests.slo import Line
from loadtests.summary import VERSION as WRITTEN
from loadtests.summary import Run, summary
from service.cli.measured import VERSION, Measured, Replicas, read_measured
from service.errors import ConfigurationError

BEGAN = 1_700_000_000.0


def written(
    folder: Path, shape: str, capacity: float | None = None, met: bool = True, passed: bool = True
) -> Path:
    """The summary of a run in which 30 requests were answered in ten seconds, two of them in the first half second."""
    figures = Figures()
    for i in range(30):
        figures.count(BEGAN + i / 3, "chat", f.STARTED)
        figures.count(BEGAN + i / 3, "chat", f.RIGHT)
    line = Line("errors", 0, 0.01, False, met)
    verdict = Line("errors", 0, 0.01, False, passed)
    stages = [Stage("one", 3.0, BEGAN, BEGAN + 10, [line]), Stage("unjudged", 9.0, BEGAN, BEGAN + 0.5)]
    parser = ArgumentParser()
    add_options(parser)
    options = from_namespace(parser.parse_args(["--shape", shape]))
    run = Run(
        options, "http://x", "demo", BEGAN, BEGAN + 12, stages=stages, capacity=capacity, lines=[verdict]
    )
    (folder / "summary.json").write_text(json.dumps(summary(run, figures)))
    return folder / "summary.json"


def test_the_form_is_the_one_that_is_written() -> None:
    assert VERSION == WRITTEN


def test_steps_tell_a_capacity(tmp_path: Path) -> None:
    file = written(tmp_path, "steps", capacity=2.5)
    assert read_measured(str(file)) == Measured(2.5, f"{file}, steps, demo")
    assert read_measured(str(tmp_path)).rate == 2.5


def test_other_shapes_tell_what_was_answered_while_objectives_were_met(tmp_path: Path) -> None:
    measured = read_measured(str(written(tmp_path, "soak")))
    assert measured.rate == pytest.approx(3)
    assert measured.at_least  # nobody offered more
    assert not read_measured(str(written(tmp_path, "steps", capacity=2.5))).at_least
    assert not read_measured("3").at_least


@pytest.mark.parametrize(
    ("shape", "met", "passed"), [("steps", True, True), ("soak", False, True), ("soak", True, False)]
)
def test_a_test_that_found_no_rate_is_refused(tmp_path: Path, shape: str, met: bool, passed: bool) -> None:
    file = written(tmp_path, shape, met=met, passed=passed)
    with pytest.raises(ConfigurationError, match="no rate at which the objectives were met"):
        read_measured(str(file))


@pytest.mark.parametrize("content", ["", "[]", "7", '{"version": 1}', '{"version": 1, "options": 3}'])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(ConfigurationError, match="other.json is not a summary of a load test"):
        read_measured(str(tmp_path / "other.json"))


def test_a_form_of_tomorrow_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "steps", capacity=2.5)
    told: dict[str, Any] = json.loads(file.read_text()) | {"version": 2}
    file.write_text(json.dumps(told))
    with pytest.raises(ConfigurationError, match="has format version 2; version 1 is supported"):
        read_measured(str(file))


@pytest.mark.parametrize("text", ["-1", "0", "nan", "inf"])
def test_a_rate_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"measured: got {text}"):
        read_measured(text)


@given(st.decimals("0.01", "1000", places=2), st.integers(1, 500))
def test_whole_numbers_of_replicas_stay_whole(rate: Any, count: int) -> None:
    measured = Measured(float(rate), "")
    assert Replicas.of(float(rate * count), 0, measured).count == count
    assert Replicas.of(float(rate * count) * 1.001, 0, measured).count == count + 1
    assert Replicas.of(float(rate * count), 1, measured).count == 2 * count

"""Steps in their order, within one limit; records are there before the next step begins."""

from __future__ import annotations

import json
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import course
from benchmarks.gpu.course import RECORDS, Course, pack, words
from benchmarks.gpu.step import Outcome, Status, Step


class Steps:
    """Stands for the running of steps: each takes a time and ends as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, results: Path, **ends: tuple[float, Status]) -> None:
        self.now = 0.0
        self.ends = ends
        self.results = results
        self.limits: dict[str, float] = {}
        self.records: dict[str, int] = {}
        monkeypatch.setattr(course, "run", self.run)

    def run(
        self, step: Step, seconds: float, log: Path, folder: Path, environment: Mapping[str, str]
    ) -> Outcome:
        took, status = self.ends[step.name]
        self.now += took
        self.limits[step.name] = seconds
        self.records[step.name] = len(records(self.results))
        log.write_text(step.name)
        return Outcome(step.name, status, took, None, "" if status == "ok" else "so it was")


def records(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (results / RECORDS).read_text().splitlines()]


def step(name: str, *after: str, seconds: float = 60) -> Step:
    return Step(name=name, what="", command=("run", name), seconds=seconds, after=after)


def follow(steps: list[Step], ran: Steps, seconds: float = 400, packed: Path | None = None) -> list[Outcome]:
    made = Course(
        results=ran.results,
        folder=Path(),
        seconds=seconds,
        facts={"gpu": "NVIDIA H100", "commit": "abc"},
        environment={},
        pack=packed,
        clock=lambda: ran.now,
    )
    return made.follow(steps)


def test_what_became_of_a_step_is_written_before_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran = Steps(monkeypatch, tmp_path / "new", a=(10, "ok"), b=(20.04, "failed"), c=(5, "out of time"))
    outcomes = follow([step("a"), step("b"), step("c")], ran)
    assert [outcome.status for outcome in outcomes] == ["ok", "failed", "out of time"]
    assert ran.records == {"a": 0, "b": 1, "c": 2}
    assert sorted(path.name for path in ran.results.iterdir()) == [
        "01-a.log",
        "02-b.log",
        "03-c.log",
        RECORDS,
    ]
    assert records(ran.results)[1] == {
        "step": "b",
        "status": "failed",
        "seconds": 20.0,
        "exit_status": None,
        "reason": "so it was",
        "command": "run b",
        "gpu": "NVIDIA H100",
        "commit": "abc",
    }


def test_what_needs_a_step_that_failed_is_left_out_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran = Steps(monkeypatch, tmp_path, a=(1, "failed"), d=(1, "ok"))
    outcomes = follow([step("a"), step("b", "a"), step("c", "b"), step("d")], ran)
    assert [words(outcome) for outcome in outcomes] == [
        "failed after 1 s: so it was",
        "left out: needs a, which is failed",
        "left out: needs b, which is left out",
        "ok after 1 s",
    ]


def test_a_step_gets_what_is_left_and_nothing_begins_for_too_little(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran = Steps(monkeypatch, tmp_path, a=(60, "ok"), b=(35, "ok"))
    outcomes = follow([step("a"), step("b"), step("c")], ran, seconds=100)
    assert ran.limits == {"a": 60, "b": 40}
    assert outcomes[2].reason == "5 s are left, and it needs 10"


def test_records_of_an_earlier_run_are_not_mixed_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for _ in range(2):
        follow([step("a")], Steps(monkeypatch, tmp_path, a=(1, "ok")))
    assert len(records(tmp_path)) == 1


def test_one_archive_holds_all_that_there_is_after_each_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    archive, seen = tmp_path / "all.tar.gz", []

    class Interrupted(Steps):
        def run(self, step: Step, *arguments: Any) -> Outcome:
            if archive.exists():
                with tarfile.open(archive) as file:
                    seen.append(sorted(file.getnames()))
            if step.name == "c":
                raise KeyboardInterrupt
            return super().run(step, *arguments)

    ran = Interrupted(monkeypatch, tmp_path / "kernels", a=(1, "ok"), b=(1, "ok"))
    with pytest.raises(KeyboardInterrupt):
        follow([step("a"), step("b"), step("c")], ran, packed=archive)
    assert seen == [
        ["kernels", "kernels/01-a.log", f"kernels/{RECORDS}"],
        ["kernels", "kernels/01-a.log", "kernels/02-b.log", f"kernels/{RECORDS}"],
    ]
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_an_archive_is_never_half_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, archive = tmp_path / "kernels", tmp_path / "all.tar.gz"
    folder.mkdir()
    pack(folder, archive)
    whole = archive.read_bytes()

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(tarfile.TarFile, "add", full)
    with pytest.raises(OSError, match="no space left"):
        pack(folder, archive)
    assert archive.read_bytes() == whole


def test_real_steps_run_one_after_the_other(tmp_path: Path) -> None:
    made = Course(
        results=tmp_path / "results",
        folder=tmp_path,
        seconds=120,
        facts={},
        environment={"WHO": "me"},
    )
    code = "import os, pathlib; print(os.environ['WHO'], len(list(pathlib.Path('results').glob('*.log'))))"
    steps = [
        Step(name=name, what="", command=(sys.executable, "-c", code), seconds=60) for name in ("one", "two")
    ]
    assert [outcome.status for outcome in made.follow(steps)] == ["ok", "ok"]
    assert (tmp_path / "results" / "02-two.log").read_text().splitlines()[1] == "me 2"

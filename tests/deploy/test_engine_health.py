"""The sidecar's probe: patient while the engine starts, impatient once it has answered."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.processes import free_port
from deploy import engine_health
from deploy.engine_health import main, start_of
from tests.deploy.test_healthcheck import Answers, port  # noqa: F401


class Container:
    """One that started so many seconds ago; its scratch folder survives its restarts."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        self.started(10)

    def started(self, seconds_ago: float) -> None:
        start = time.clock_gettime(time.CLOCK_BOOTTIME) - seconds_ago
        self._patch.setattr(engine_health, "start_of", lambda _: start)


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Container:
    return Container(tmp_path, monkeypatch)


@pytest.fixture
def healthy(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:  # noqa: F811
    monkeypatch.setattr(Answers, "do_GET", lambda self: (self.send_response(200), self.end_headers()))
    yield port


def test_a_start_may_take_its_time(container: Container, capsys: pytest.CaptureFixture[str]) -> None:
    nobody = free_port()
    assert main(nobody, 2700) == 0
    container.started(2701)
    assert main(nobody, 2700) == 1
    assert f"does not answer at port {nobody}, 2701 s after" in capsys.readouterr().out


def test_who_has_answered_once_is_expected_to(container: Container, healthy: int) -> None:
    assert main(healthy, 2700) == 0
    assert main(free_port(), 2700) == 1


def test_a_container_that_was_restarted_starts_anew(container: Container, healthy: int) -> None:
    assert main(healthy, 2700) == 0
    container.started(2)
    assert main(free_port(), 2700) == 0


def test_another_status_is_no_answer(container: Container, port: int) -> None:  # noqa: F811
    container.started(3000)
    assert main(port, 2700) == 1  # 404


def test_a_start_is_read_whatever_the_process_is_called(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    fields = ["S", *map(str, range(1, 50))]
    stat.write_text(f"1 (a) b (c) {' '.join(fields)}\n")
    # field 22 of proc(5), of which the state is field 3
    assert start_of(stat) == pytest.approx(19 / 100)
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert 0 <= start_of(Path("/proc/self/stat")) <= now

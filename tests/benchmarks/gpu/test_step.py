"""A step ends within its limit, with everything that it has started, and its log is there as it was printed."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.step import Outcome, Step, run
from tests.waiting import DEADLOCK

STAYS = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
)


def outcome(folder: Path, code: str, seconds: float = 60, **variables: str) -> tuple[Outcome, str]:
    step = Step(
        name="step", what="", command=(sys.executable, "-c", code), seconds=seconds, environment=variables
    )
    log = folder / "log"
    return run(step, seconds, log, folder, dict(os.environ)), log.read_text()


def ends(pid: int) -> bool:
    """Whether it is gone, or goes: it was told to, and need not have been yet."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], DEADLOCK)[0])
    finally:
        os.close(process)


def test_what_ends_well_is_ok(tmp_path: Path) -> None:
    made, log = outcome(
        tmp_path,
        "import os, sys; print(os.environ['OWN']); print('to stderr', file=sys.stderr)",
        OWN="its own",
    )
    assert (made.status, made.exit_status, made.reason) == ("ok", 0, "")
    first, *rest = log.splitlines()
    assert first.startswith(f"$ {sys.executable} -c")
    assert sorted(rest) == ["its own", "to stderr"]


def test_what_fails_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    made, _ = outcome(tmp_path, "print('x' * 5000); raise SystemExit('the kernel is wrong')")
    assert (made.status, made.exit_status) == ("failed", 1)
    assert made.reason.endswith("the kernel is wrong") and len(made.reason) <= 400


def test_a_step_runs_where_it_is_told(tmp_path: Path) -> None:
    _, log = outcome(tmp_path, "import os; print(os.getcwd())")
    assert log.splitlines()[1] == str(tmp_path)


def test_what_does_not_end_is_ended_and_its_log_is_there(tmp_path: Path) -> None:
    made, log = outcome(tmp_path, "print('begun', flush=True); import signal; signal.pause()", seconds=5)
    assert (made.status, made.exit_status) == ("out of time", None)
    assert made.reason == "did not end within 5 s" and made.seconds >= 5
    assert "begun" in log


@pytest.mark.parametrize("session", ["", ", start_new_session=True"])
def test_what_a_step_leaves_behind_is_ended(tmp_path: Path, session: str) -> None:
    """A server that its parent forgot, and that does not listen to SIGTERM."""
    code = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {STAYS!r}], stdout=subprocess.PIPE, text=True{session})\n"
        "assert child.stdout.readline() == 'deaf\\n'\n"
        "print(child.pid, flush=True)\n"
    )
    made, log = outcome(tmp_path, code)
    assert made.status == "ok"
    assert ends(int(log.splitlines()[-1]))


def test_a_server_in_a_session_of_its_own_ends_with_a_step_that_is_out_of_time(tmp_path: Path) -> None:
    """As servers of benchmarks are started; this one has written over its environment, as vLLM's processes do."""
    server = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    code = (
        "import subprocess, sys, signal\n"
        f"command = [sys.executable, '-c', {server!r}]\n"
        "child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, env={})\n"
        "assert child.stdout.readline() == 'deaf\\n'\n"
        "print(child.pid, flush=True)\n"
        "signal.pause()\n"
    )
    made, log = outcome(tmp_path, code, seconds=20)
    assert made.status == "out of time"
    assert ends(int(log.splitlines()[-1]))


def test_other_processes_are_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", STAYS], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None and other.stdout.readline() == "deaf\n"
            made, _ = outcome(tmp_path, "print('done')")
            assert made.status == "ok" and other.poll() is None
        finally:
            other.kill()

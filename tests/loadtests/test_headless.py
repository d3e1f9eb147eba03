"""The whole load test as people start it, on a small server in this process: Locust runs in a process of its own,
because it replaces the standard library's sockets in the one that imports it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.processes import free_port
from tests.loadtests.fake_openai import Behaviour, answering
from tests.waiting import DEADLOCK

ROOT = Path(__file__).parent.parent.parent
# what a loaded machine delays is not what is tested here
PATIENT = ("--slo-first-token-p95", "none", "--slo-late-p99", "none", "--timeout", str(DEADLOCK))
# as many visits of each kind (a conversation has three requests)
SHORT = ("--count", "2", "--warm", "1", "--mix", "chat=2,conversation=6,gallery=2,text=2,repeated=2,broken=2")
ASKED_ALONE = 2 + 3 * 2 + 2 + 2 + 2
# visits come at random: of 20 that are due of each kind, even half leaves no kind out but once in 20,000 runs
SOAK = ("--shape", "soak", "--rate", "40", "--unit", "0.5", "--seconds", "4")


def load(
    url: str, folder: Path, *flags: str, own: tuple[str, ...] = ("loadtests", "--url")
) -> tuple[int, str]:
    """Exit status and everything that was printed; `own` is the program, up to the flag that takes the URL."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("LOCUST_", "LOADTEST_"))
    }
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            *own,
            url,
            "--report-dir",
            str(folder),
            *SHORT,
            *PATIENT,
            *flags,
        ],
        cwd=ROOT,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
        timeout=4 * DEADLOCK,
    )
    return ended.returncode, ended.stdout + ended.stderr


def told(folder: Path, output: str) -> dict[str, Any]:
    assert (folder / "summary.json").exists(), output[-3000:]
    found = json.loads((folder / "summary.json").read_text())
    assert isinstance(found, dict)
    return found


def missed(summary: dict[str, Any]) -> set[str]:
    # a drift of milliseconds is this machine's, not the server's
    names = {line["name"] for line in summary["objectives"] if not line["held"]}
    return names - {"first token p95, last third ÷ first"}


@pytest.mark.parametrize("workers", [0, 2], ids=["alone", "two workers"])
def test_a_sound_server_passes_and_every_request_is_counted_once(tmp_path: Path, workers: int) -> None:
    behaviour = Behaviour()
    processes: tuple[str, ...] = ()
    if workers:
        # a port of its own: Locust's default is one for the whole machine
        port = str(free_port())
        processes = ("--processes", str(workers), "--master-bind-port", port, "--master-port", port)
    with answering(behaviour) as url:
        _, output = load(url, tmp_path, *SOAK, *processes)
    summary = told(tmp_path, output)
    whole = summary["whole_run"]
    assert missed(summary) == set(), output[-3000:]
    assert whole["started"] + ASKED_ALONE == len(behaviour.bodies)
    assert whole["right"] == whole["started"] > 20
    assert (whole["wrong"], whole["refused"], whole["failed"]) == (0, 0, 0)
    assert set(summary["kinds"]) == {"chat", "conversation", "gallery", "text", "repeated", "broken"}
    talked = [each for kind, each in summary["kinds"].items() if kind != "broken"]
    assert all(each["first_token_ms"]["count"] == each["started"] for each in talked)
    assert summary["kinds"]["broken"]["first_token_ms"]["count"] == 0
    assert whole["completion_tokens"] == 2 * whole["first_token_ms"]["count"]
    assert summary["generator_processes"] == (workers or 1)
    assert "</html>" in (tmp_path / "report.html").read_text()
    # follow-up questions carry what was said before
    follow_ups = [body for body in behaviour.bodies if len(body["messages"]) == 5]
    assert follow_ups
    for body in follow_ups:
        assert [message["role"] for message in body["messages"]] == ["user", "assistant"] * 2 + ["user"]
        assert "lost" != body["messages"][3]["content"] != body["messages"][1]["content"]


def test_what_a_server_does_wrong_under_load_alone_is_found_and_named(tmp_path: Path) -> None:
    with answering(Behaviour(sound_for=ASKED_ALONE)) as url:
        status, output = load(url, tmp_path, *SOAK)
    summary = told(tmp_path, output)
    assert status == 1 and "FAILED" in output
    assert missed(summary) == {"right answers, share", "refused, share", "errors, share"}, output[-3000:]
    reasons = " ".join(each["reason"] for each in summary["reasons"])
    for words in ("said 'lost'", "429 queue_full", "a broken image was answered 200"):
        assert words in reasons


def test_steps_end_with_a_capacity(tmp_path: Path) -> None:
    with answering(Behaviour()) as url:
        flags = ("--rate", "8", "--most", "12", "--seconds", "2", "--tail", "0.5")
        status, output = load(url, tmp_path, "--shape", "steps", *flags)
    assert status == 0, output[-3000:]
    assert told(tmp_path, output)["capacity"] == 12
    # how far it is, while it runs; and the verdict last
    assert "step 1, 8 requests/s:" in output
    assert "step 2, 12 requests/s:" in output
    assert output.splitlines()[-1].split() == ["unfinished", "requests", "0", "at", "most", "0"]


def test_plain_locust_obeys_its_own_flags(tmp_path: Path) -> None:
    plain = ("locust", "-f", "loadtests/locustfile.py", "--headless", "--host")
    with answering(Behaviour()) as url:
        _, output = load(url, tmp_path, "-u", "3", "-r", "3", "-t", "6s", "--unit", "5", own=plain)
    # it came to its end by itself, at no level of ours
    summary = told(tmp_path, output)
    assert (summary["options"]["shape"], summary["capacity"]) == ("users", None)
    assert "step 1" not in output and "Run time limit set to 6 seconds" in output


def test_where_nobody_answers_the_next_command_is_told(tmp_path: Path) -> None:
    status, output = load("http://127.0.0.1:9", tmp_path)
    assert status == 2 and "make serve" in output


def test_the_help_teaches() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "loadtests", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for words in ("--shape", "--mix", "--answers", "--slo-first-token-p95", "Exit status", "--shape soak"):
        assert words in told.stdout

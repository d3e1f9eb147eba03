"""What is missing is said before anything runs; a rehearsal leaves a record, rows and logs; a signal ends the step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import needs

ROOT = Path(__file__).parents[3]
NO_GPU: dict[str, Any] = {
    "gpu": "none",
    "no_gpu": "no GPU: PyTorch 2.13 is built without CUDA",
    "commit": "abc",
    "rehearsal": False,
}


@pytest.fixture
def facts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    found = dict(NO_GPU)
    monkeypatch.setattr(gpu, "facts_of", lambda commit, rehearsal: found)
    return found


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert gpu.main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    return told.err.splitlines()


def test_without_a_gpu_and_a_commit_both_are_said(
    facts: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    facts["commit"] = ""
    commit, card = refused(capsys)
    assert "no commit" in commit and "--commit" in commit
    assert card.endswith("no GPU: PyTorch 2.13 is built without CUDA")


def test_an_archive_that_is_not_there_is_said(
    facts: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    facts["gpu"] = "NVIDIA H100"
    (line,) = refused(capsys, "engine", "--archive", str(tmp_path / "vllm.tar.xz"))
    assert line.endswith("vllm.tar.xz is not a file")


def test_no_vllm_at_all_is_said(
    facts: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    facts["gpu"] = "NVIDIA H100"
    monkeypatch.setattr(needs, "find_spec", lambda name: None if name == "vllm" else object())
    (line,) = refused(capsys, "engine")
    assert "no vLLM: neither is it installed" in line and "--archive" in line


def test_packages_that_are_missing_are_named() -> None:
    assert needs.without_packages(("torch", "hypothesis"), lambda name: name == "torch") == [
        "the package hypothesis is not installed"
    ]


def test_a_step_that_there_is_not_is_refused(
    facts: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    facts["rehearsal"] = True
    with pytest.raises(SystemExit) as ended:
        gpu.main(["--rehearse", "--only", "ceiling"])
    assert ended.value.code == 2
    assert "--only: got 'ceiling', allowed are ceilings, once," in capsys.readouterr().err


def test_a_step_brings_those_that_it_needs() -> None:
    steps = gpu.engine.steps(Path(), Path("vllm.tar.xz"), Path("/unpacked"), rehearsal=False)
    assert [step.name for step in gpu.chosen(steps, ["captured"])] == ["unpack", "attention", "captured"]


def test_folders_are_named_after_gpu_and_commit() -> None:
    assert gpu.folder_name({"gpu": "NVIDIA H100 80GB HBM3", "commit": "ae42f30a1b", "rehearsal": False}) == (
        "nvidia-h100-80gb-hbm3-ae42f30a1b"
    )


def test_a_rehearsal_leaves_records_rows_and_logs(tmp_path: Path) -> None:
    """The real thing, with the step that needs the least."""
    arguments = ("--rehearse", "--only", "ceilings", "--commit", "abc", "--into", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *arguments, "--pack", str(tmp_path / "all.tar.gz")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    results = tmp_path / "rehearsal-abc" / "kernels"
    (record,) = map(json.loads, (results / "steps.jsonl").read_text().splitlines())
    assert (record["step"], record["status"], record["commit"]) == ("ceilings", "ok", "abc")
    assert record["rehearsal"] and record["gpu"] == "none" and record["torch"]
    rows = [json.loads(line) for line in (results / "ceilings.jsonl").read_text().splitlines()]
    assert [row["ceiling"] for row in rows] == ["copy", "bf16 product"]
    assert rows[0]["gbytes_per_s"] > 0 and rows[1]["tflops"] > 0
    assert all(row["gpu"] == "none" and row["commit"] == "abc" for row in rows)
    assert '"ceiling": "copy"' in (results / "01-ceilings.log").read_text()
    assert (tmp_path / "all.tar.gz").stat().st_size > 0


def test_a_signal_ends_the_step_that_is_running(tmp_path: Path) -> None:
    """It has a session of its own, and would go on holding the GPU."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from benchmarks.gpu import __main__ as gpu\n"
        "from benchmarks.gpu.step import Step\n"
        f"gpu.facts_of = lambda commit, rehearsal: {NO_GPU | {'rehearsal': True}!r}\n"
        "wait = 'import os, signal; print(os.getpid(), flush=True); signal.pause()'\n"
        "command = (sys.executable, '-c', wait)\n"
        "gpu.steps_of = lambda *given: [Step(name='waits', what='', command=command, seconds=600)]\n"
        f"sys.exit(gpu.main(['--rehearse', '--into', {str(tmp_path)!r}]))\n"
    )
    log = tmp_path / "rehearsal-abc" / "kernels" / "01-waits.log"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        while not (log.exists() and log.read_text().count("\n") > 1):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text().splitlines()[-1]), 0)

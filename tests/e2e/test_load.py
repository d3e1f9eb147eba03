"""A short load of the real service: nothing fails, all is answered as if alone, broken images are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.server import Server, environment

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parent.parent.parent
MIX = "chat=6,conversation=3,gallery=2,text=3,repeated=3,huge=1,broken=4"


def test_a_mix_of_everything_is_answered_rightly_under_load(patchbay: Server, tmp_path: Path) -> None:
    refused_before = patchbay.metric("patchbay_media_errors_total")
    # how fast it is, is not asked: on a busy machine that would be a test of the machine
    patient = ("--slo-first-token-p95", "none", "--slo-late-p99", "none")
    flags = ("--shape", "soak", "--rate", "3", "--warm", "1", "--seconds", "15", "--count", "6", "--mix", MIX)
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "loadtests",
            "--url",
            patchbay.url,
            "--report-dir",
            str(tmp_path),
            *flags,
            *patient,
        ],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert (tmp_path / "summary.json").exists(), ended.stderr[-3000:]
    summary = json.loads((tmp_path / "summary.json").read_text())
    whole = summary["whole_run"]
    missed = {line["name"] for line in summary["objectives"] if not line["held"]}
    assert missed <= {"first token p95, last third ÷ first"}, summary["reasons"]
    assert ended.returncode == (1 if missed else 0)
    assert (whole["wrong"], whole["failed"], whole["refused"]) == (0, 0, 0)
    assert whole["started"] == whole["right"] > 20
    # what the pictures show, and not only what was said before
    assert whole["true"] / (whole["true"] + whole["untrue"]) >= 0.9
    kinds = summary["kinds"]
    assert "broken" in kinds and kinds["chat"]["image_tokens"] > 0 == kinds["text"]["image_tokens"]
    refused = patchbay.metric("patchbay_media_errors_total") - refused_before
    assert refused > 0 and summary["server"]["images refused"] == refused
    assert summary["server"]["cache hits"] > 0 == summary["server"]["engine restarts"]
    assert summary["server"]["in flight at the end"] == 0
    assert "</html>" in (tmp_path / "report.html").read_text()

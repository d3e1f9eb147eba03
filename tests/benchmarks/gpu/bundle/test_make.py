"""The script that makes the archive, and the list of what it holds."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from packaging.requirements import Requirement

from service.app.service import ENGINE_VERSION

BUNDLE = Path(__file__).parents[4] / "benchmarks" / "gpu" / "bundle"
SCRIPT = (BUNDLE / "make.sh").read_text()


def test_it_is_a_script_and_says_how_it_is_used() -> None:
    subprocess.run(["bash", "-n", BUNDLE / "make.sh"], check=True)
    done = subprocess.run([BUNDLE / "make.sh"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ") and "OUT.tar.xz" in done.stderr


def test_it_takes_the_vllm_that_the_plugin_is_written_for() -> None:
    assert re.findall(r"(?m)^vllm=(\S+)$", SCRIPT) == [ENGINE_VERSION]


def test_every_package_has_one_version() -> None:
    listed = [Requirement(line) for line in (BUNDLE / "packages.txt").read_text().splitlines()]
    names = [requirement.name.lower() for requirement in listed]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"==[\w.]+", str(requirement.specifier)) for requirement in listed)

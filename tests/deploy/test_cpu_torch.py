"""Where PyTorch's CPU build comes from: pip itself, with folders in the place of indexes and empty wheels in them."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.deploy.images import ROOT

TORCH, TORCHVISION = "torch-2.13.0+cpu", "torchvision-0.28.0+cpu"
SCRIPT = """
set -euo pipefail
say() { printf '%s\\n' "$*"; }
fail() { printf '%s\\n' "$*" >&2; exit 1; }
pip=("$PYTHON" -m pip install --quiet --disable-pip-version-check)
. deploy/cpu_torch.sh
echo "$pytorch_index"
pytorch_index=$IN_ITS_PLACE
install_cpu_torch
"""


def index(folder: Path, *builds: str) -> Path:
    """A package index of wheels with nothing in them but their names; each torch asks for a package that no index has,
    as everything besides the two must come from elsewhere."""
    for name in ("torch", "torchvision"):
        (folder / name).mkdir(parents=True)
        mine = [wheel(folder / name, build) for build in builds if build.startswith(f"{name}-")]
        links = "".join(f'<a href="{file}">{file}</a>' for file in mine)
        (folder / name / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")
    return folder


def wheel(folder: Path, build: str) -> str:
    name, _, version = build.partition("-")
    about = f"{build}.dist-info"
    file = f"{build}-py3-none-any.whl"
    with zipfile.ZipFile(folder / file, "w") as made:
        needs = "Requires-Dist: sympy-that-is-nowhere\n" if name == "torch" else ""
        made.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
        )
        made.writestr(
            f"{about}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        made.writestr(f"{about}/RECORD", f"{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    return file


class Machine:
    """A new environment, and what pip finds without being told."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._home = folder, folder / "venv"
        # pip of the tests' own environment, which need not be installed again
        venv.create(self._home, with_pip=False)
        (pip,) = [Path(entry) for entry in sys.path if (Path(entry) / "pip").is_dir()][:1]
        site = next((self._home / "lib").iterdir()) / "site-packages"
        (site / "pip").symlink_to(pip / "pip")

    def install(
        self, own: Path, pytorchs: Path, torch_index: str = ""
    ) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        """What the script said, and what is installed afterwards."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")} | {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": own.as_uri(),
            "PYTHON": str(self._home / "bin" / "python"),
            "IN_ITS_PLACE": pytorchs.as_uri(),
            "TORCH_INDEX": torch_index,
        }
        result = subprocess.run(
            ["bash", "-c", SCRIPT], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        found = sorted(path.stem for path in self._home.rglob("*.dist-info") if path.stem.startswith("torch"))
        return result, found


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_where_pip_finds_them_itself_nobody_else_is_asked(machine: Machine, tmp_path: Path) -> None:
    own, pytorchs = index(tmp_path / "own", TORCH, TORCHVISION), index(tmp_path / "pytorch")
    result, found = machine.install(own, pytorchs)
    assert result.returncode == 0, result.stderr
    assert found == [TORCH, TORCHVISION]
    assert "taking it from" not in result.stdout and "beside it" not in result.stdout


def test_where_pip_finds_none_pytorchs_index_is_asked_and_named(machine: Machine, tmp_path: Path) -> None:
    """Builds without +cpu are PyPI's: those for CUDA."""
    own = index(tmp_path / "own", "torch-2.13.0", "torchvision-0.28.0")
    pytorchs = index(tmp_path / "pytorch", TORCH, TORCHVISION)
    result, found = machine.install(own, pytorchs)
    assert result.returncode == 0, result.stderr
    assert found == [TORCH, TORCHVISION]
    default, *lines = result.stdout.splitlines()
    assert default == "https://download.pytorch.org/whl/cpu"
    assert lines[1:] == [
        f"pip's own indexes have no torch==2.13.0+cpu: taking it from {pytorchs.as_uri()} (TORCH_INDEX names another)"
    ]


def test_an_index_that_was_named_is_the_only_one(machine: Machine, tmp_path: Path) -> None:
    full, named = index(tmp_path / "full", TORCH, TORCHVISION), index(tmp_path / "named", TORCH, TORCHVISION)
    result, found = machine.install(index(tmp_path / "own"), index(tmp_path / "pytorch"), named.as_uri())
    assert result.returncode == 0 and found == [TORCH, TORCHVISION]
    empty = index(tmp_path / "empty")
    result, _ = Machine(tmp_path / "second").install(full, full, empty.as_uri())
    assert result.returncode == 1
    assert f"no torch==2.13.0+cpu in {empty.as_uri()}: set TORCH_INDEX" in result.stderr


def test_a_torchvision_that_is_not_there_is_told_and_left_to_the_shim(
    machine: Machine, tmp_path: Path
) -> None:
    result, found = machine.install(index(tmp_path / "own", TORCH), index(tmp_path / "pytorch", TORCHVISION))
    assert result.returncode == 0, result.stderr
    assert found == [TORCH]
    assert "there is no torchvision==0.28.0+cpu beside it" in result.stdout


def test_where_nobody_has_it_both_answers_are_told(machine: Machine, tmp_path: Path) -> None:
    pytorchs = index(tmp_path / "pytorch")
    result, found = machine.install(index(tmp_path / "own"), pytorchs)
    assert result.returncode == 1 and found == []
    assert f"no torch==2.13.0+cpu in {pytorchs.as_uri()}: set TORCH_INDEX" in result.stderr
    assert "Before, pip said: No matching distribution found for torch==2.13.0+cpu" in result.stderr

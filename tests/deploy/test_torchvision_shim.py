"""The shim, run as the set-up step runs it, in throw-away environments with stand-ins for torch and
torchvision.

The stand-ins fail where the real builds fail: torchvision's `_meta_registrations` needs an operator that
only its extension (absent here) or the shim defines.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

SHIM = Path(__file__).parents[2] / "deploy" / "torchvision_shim.py"
TORCH = """
class Ops:
    class torchvision: pass
ops = Ops
class library:
    class Library:
        def __init__(self, namespace, kind): self.namespace = namespace
        def define(self, schema): setattr(getattr(ops, self.namespace), schema.partition("(")[0], schema)
"""
REGISTRATIONS = """
import torch
for op in ("nms", "qnms"):
    if not hasattr(torch.ops.torchvision, op):
        raise RuntimeError(f"operator torchvision::{op} does not exist")
"""
EXTENSION = "import torch\ntorch.ops.torchvision.nms = torch.ops.torchvision.qnms = 'from the extension'\n"


class Environment:
    def __init__(self, home: Path) -> None:
        venv.create(home, with_pip=False)
        self.python = home / "bin" / "python"
        self.site = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))

    def package(self, name: str, **files: str) -> None:
        (self.site / name).mkdir(exist_ok=True)
        for file, text in files.items():
            (self.site / name / f"{file}.py").write_text(text)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.python, *arguments], capture_output=True, text=True)

    def hook(self) -> list[str]:
        return sorted(path.name for path in self.site.glob("patchbay_*"))


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    made = Environment(tmp_path / "venv")
    made.package("torch", __init__=TORCH)
    made.package(
        "torchvision",
        __init__="from . import extension, _meta_registrations",
        extension="",
        _meta_registrations=REGISTRATIONS,
    )
    return made


def test_a_mismatched_build_imports_afterwards_and_a_second_run_changes_nothing(
    environment: Environment,
) -> None:
    first, written = environment.run(str(SHIM)), environment.hook()
    second = environment.run(str(SHIM))

    assert first.returncode == 0 and "added two operator schemas" in first.stdout
    assert written == ["patchbay_torchvision_schemas.pth", "patchbay_torchvision_schemas.py"]
    assert second.returncode == 0 and "added earlier" in second.stdout
    assert environment.run("-c", "import torchvision").returncode == 0


def test_python_starts_without_importing_torch(environment: Environment) -> None:
    environment.run(str(SHIM))
    code = "import sys; print('torch' in sys.modules, 'patchbay_torchvision_schemas' in sys.modules)"
    assert environment.run("-c", code).stdout.split() == ["False", "True"]


def test_a_matching_build_is_left_alone(environment: Environment) -> None:
    environment.package("torchvision", extension=EXTENSION)
    result = environment.run(str(SHIM))
    assert result.returncode == 0 and "imports by itself" in result.stdout
    assert environment.hook() == []


def test_the_hook_never_redefines_what_the_extension_defined(environment: Environment) -> None:
    environment.run(str(SHIM))
    environment.package("torchvision", extension=EXTENSION)
    code = "import torchvision, torch; print(torch.ops.torchvision.nms)"
    assert environment.run("-c", code).stdout.strip() == "from the extension"

    result = environment.run(str(SHIM))
    assert "imports by itself" in result.stdout and environment.hook() == []


def test_another_failure_is_told_and_nothing_is_written(environment: Environment) -> None:
    environment.package("torchvision", extension="raise OSError('libjpeg.so.62: no such file')")
    result = environment.run(str(SHIM))
    assert result.returncode == 1
    assert result.stderr.strip().endswith("OSError: libjpeg.so.62: no such file")
    assert environment.hook() == []


def test_a_missing_torchvision_is_told(tmp_path: Path) -> None:
    result = Environment(tmp_path / "venv").run(str(SHIM))
    assert result.returncode == 1 and result.stderr.startswith("torchvision: not installed")


@pytest.mark.parametrize("name", ["torchaudio", "torchcodec"])
def test_a_package_that_cannot_be_removed_is_told(environment: Environment, name: str) -> None:
    environment.package(name, __init__="raise OSError('libc10_cuda.so')")
    result = environment.run(str(SHIM))
    assert result.returncode == 1  # this environment has no pip
    assert f"{name}: does not match this torch and cannot be removed" in result.stderr


def test_this_environment_can_import_torchvision() -> None:
    assert subprocess.run([sys.executable, "-P", "-c", "import torchvision"]).returncode == 0

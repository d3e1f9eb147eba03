"""Makes a folder that compilers take for CUDA's toolkit, of what pip installed of it: CUDA_HOME in the image `cuda`.

    /opt/venv/bin/python deploy/cuda_home.py /opt/cuda

FlashInfer, which vLLM samples with, compiles its kernels when they are first used: with `bin/nvcc`, linked against
`lib64/libcudart.so` and `lib64/stubs/libcuda.so`. NVIDIA's packages for pip have no `lib64`, no names without a
version, and no stub for the driver's library, which only a machine with a GPU has. Needs a C compiler.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

PARTS = ("bin", "include", "nvvm")
DRIVER = "libcuda.so"


def make(home: Path, toolkit: Path) -> None:
    """Links to the parts of `toolkit` in the new folder `home`. Raises FileNotFoundError where nvcc is not there."""
    nvcc = toolkit / "bin" / "nvcc"
    if not nvcc.is_file():
        raise FileNotFoundError(f"there is no {nvcc}: install cuda-toolkit[nvcc] first")
    libraries = home / "lib64"
    stubs = libraries / "stubs"
    stubs.mkdir(parents=True)
    for part in PARTS:
        (home / part).symlink_to(toolkit / part)
    for file in (toolkit / "lib").iterdir():
        (libraries / file.name).symlink_to(file)
        plain = libraries / (file.name.partition(".so.")[0] + ".so")
        if ".so." in file.name and not plain.is_symlink():
            plain.symlink_to(file)
    _stub(stubs / DRIVER)


def _stub(file: Path) -> None:
    """A library without a symbol, whose name is that of the driver's: enough to link against."""
    flags = ["-shared", f"-Wl,-soname,{DRIVER}.1", "-o", str(file), "-x", "c", "-"]
    subprocess.run(["cc", *flags], input=b"", check=True)


def main() -> None:
    """Of the environment that runs this."""
    home, site = Path(sys.argv[1]), Path(sysconfig.get_path("purelib"))
    (toolkit,) = site.glob("nvidia/cu*/bin")
    make(home, toolkit.parent)


if __name__ == "__main__":
    main()

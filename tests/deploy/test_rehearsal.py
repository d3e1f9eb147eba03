"""What the rehearsal of the image `cuda` would find, on libraries that are made for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import cuda_home
from tests.deploy.images import ROOT
from tests.deploy.rehearsal.libraries import Library, installed, missing, too_new, unused
from tests.deploy.rehearsal.modules import driver_functions, importing, write_driver

compiled = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")


def library(file: Path, code: str = "", *flags: str, name: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    soname = f"-Wl,-soname,{name or file.name}"
    command = ["cc", "-shared", "-fPIC", soname, "-o", file, "-x", "c", "-", "-x", "none", *flags]
    subprocess.run(command, input=code, text=True, check=True)
    return file


@compiled
def test_what_is_nowhere_is_missing_and_what_a_package_brings_is_not(tmp_path: Path) -> None:
    site = tmp_path / "site"
    brought, gone = library(site / "a" / "libbrought.so.1"), library(tmp_path / "libgone.so.2")
    needing = library(site / "b" / "needing.abi3.so", "", "-Wl,--no-as-needed", str(brought), str(gone))
    (site / "b" / "script.so").write_text("INPUT(libgone.so.2)")
    found = installed(site)
    assert {it.path for it in found} == {brought, needing}
    assert missing(found, ["libbrought.so.1", "needing.abi3.so"]) == {"libgone.so.2": [needing]}
    assert missing(found, []) == {"libbrought.so.1": [needing], "libgone.so.2": [needing]}


def test_the_base_and_the_driver_have_what_they_have() -> None:
    names = ("libc.so.6", "libstdc++.so.6", "libgomp.so.1", "libcuda.so.1", "libnuma.so.1", "libcurl.so.4")
    assert set(missing([Library(Path("a.so"), frozenset(names))], [])) == {"libnuma.so.1", "libcurl.so.4"}
    assert unused("libavcodec.so.61") and unused("libibverbs.so.1")
    assert unused("libnuma.so.1") is None


def test_a_symbol_newer_than_the_base_is_found() -> None:
    versions = {("GLIBC", (2, 36)), ("GLIBC", (2, 38)), ("GLIBC", (2, 3, 4)), ("GLIBCXX", (3, 4, 32))}
    found = too_new([Library(Path("a.so"), frozenset(), frozenset(versions))])
    assert found == {"GLIBC_2.38": [Path("a.so")], "GLIBCXX_3.4.32": [Path("a.so")]}


@compiled
def test_versions_are_read(tmp_path: Path) -> None:
    library(tmp_path / "a.so", "#include <stdio.h>\nvoid f(void) { puts(0); }", "-lc")
    (read,) = installed(tmp_path)
    assert "libc.so.6" in read.needed
    assert any(name == "GLIBC" and version >= (2, 2, 5) for name, version in read.versions)


@compiled
def test_a_stand_in_for_the_driver_shows_what_else_is_missing(tmp_path: Path) -> None:
    code = "int cuInit(int); int ours(void); int %s(void) { return cuInit(0) + %s; }"
    driver = library(tmp_path / "real" / "libcuda.so.1", "int cuInit(int x) { return x; }")
    well = library(tmp_path / "well.so", code % ("f", "0"), "-Wl,--no-as-needed", str(driver))
    broken = library(tmp_path / "broken.so", code % ("f", "ours()"), "-Wl,--no-as-needed", str(driver))
    functions = driver_functions([well, broken])
    assert functions == {"cuInit"}
    (tmp_path / "stand-in").mkdir()
    write_driver(tmp_path / "stand-in" / "libcuda.so.1", functions)
    for name, file in (("well", well), ("broken", broken)):
        (tmp_path / f"load_{name}.py").write_text(
            f"import ctypes, os\nctypes.CDLL({str(file)!r}, mode=os.RTLD_NOW)"
        )
    (tmp_path / "torch.py").touch()
    environment = {"PYTHONPATH": str(tmp_path), "PATH": os.environ["PATH"]}
    without = importing(sys.executable, "load_well", environment)
    assert without is not None and "libcuda.so.1: cannot open" in without
    environment["LD_LIBRARY_PATH"] = str(tmp_path / "stand-in")
    assert importing(sys.executable, "load_well", environment) is None
    why = importing(sys.executable, "load_broken", environment)
    assert why is not None and "undefined symbol: ours" in why


def toolkit(folder: Path) -> Path:
    """As pip lays it: libraries with a version in their names, and no lib64."""
    for part in ("bin", "include", "nvvm"):
        (folder / part).mkdir(parents=True)
    (folder / "bin" / "nvcc").touch()
    library(folder / "lib" / "libcudart.so.13", "int cudaGetDevice(void) { return 0; }")
    (folder / "lib" / "libcudadevrt.a").touch()
    return folder


@compiled
def test_what_flashinfer_links_against_is_found_in_cuda_home(tmp_path: Path) -> None:
    home = tmp_path / "cuda"
    cuda_home.make(home, toolkit(tmp_path / "cu13"))
    assert (home / "bin" / "nvcc").is_file() and (home / "lib64" / "libcudadevrt.a").is_file()
    places = [f"-L{home / 'lib64'}", f"-L{home / 'lib64' / 'stubs'}"]
    code = "int cudaGetDevice(void); int cuInit(int); int f(void) { return cudaGetDevice() + cuInit(0); }"
    library(tmp_path / "out" / "kernel.so", code, *places, "-Wl,--no-as-needed", "-lcudart", "-lcuda")
    (kernel,) = installed(tmp_path / "out")
    assert {"libcudart.so.13", "libcuda.so.1"} <= kernel.needed


def test_without_a_compiler_of_kernels_there_is_no_cuda_home(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cu13/bin/nvcc: install cuda-toolkit\[nvcc\] first"):
        cuda_home.make(tmp_path / "cuda", tmp_path / "cu13")
    assert not (tmp_path / "cuda").exists()


def pinned(tmp_path: Path, pattern: str) -> tuple[int, list[str], str]:
    """Exit status, what pip is told to install, and what is said."""
    pip = tmp_path / "python"
    pip.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$(dirname "$0")/told"\n')
    pip.chmod(0o755)
    pins = tmp_path / "pins.txt"
    pins.write_text("# pins\nnvidia-a==1\nnvidia-b-cu13==2\ntorch==3\ntorchaudio==4\n")
    command = [ROOT / "deploy" / "pinned.sh", pip, pins, pattern]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    told = (tmp_path / "told").read_text().split() if (tmp_path / "told").exists() else []
    return run.returncode, told, run.stderr


@pytest.mark.parametrize(
    ("pattern", "names"),
    [("nvidia-.*|cuda-.*", ["nvidia-a==1", "nvidia-b-cu13==2"]), ("torch|triton", ["torch==3"])],
)
def test_a_layer_has_what_matches_and_nothing_that_it_needs(
    tmp_path: Path, pattern: str, names: list[str]
) -> None:
    status, told, _ = pinned(tmp_path, pattern)
    assert status == 0 and told[:3] == ["-m", "pip", "install"]
    assert "--no-deps" in told and [word for word in told if "==" in word] == names


def test_a_layer_without_anything_is_refused(tmp_path: Path) -> None:
    status, told, said = pinned(tmp_path, "no-such-.*")
    assert (status, told) == (1, []) and "matches no-such-.*" in said

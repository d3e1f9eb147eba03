"""The locked versions are whole, fit pyproject.toml and the images' pins, and name no package index."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.lock import asked, needed
from deploy.locks import FROM_PYTORCH, GATEWAY, LOCKS, UNUSED, constraints, extras

ENTRY = re.compile(
    r"^([a-z0-9.-]+)==([^\s;\\]+)(?: ; ([^\\]+?))?((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.M
)
Lock = dict[str, list[str]]


def entries(extra: str) -> list[tuple[str, str, str]]:
    """Name, version and marker of each locked package."""
    return [match.group(1, 2, 3) for match in ENTRY.finditer((LOCKS / f"{extra}.txt").read_text())]


def locked(extra: str) -> dict[str, str]:
    """Name → version of what is installed here."""
    return {
        canonicalize_name(name): version
        for name, version, marker in entries(extra)
        if not marker or Marker(marker).evaluate()
    }


def asked_for(extra: str) -> list[Requirement]:
    """What Patchbay with an extra requires, the extras within extras opened."""
    found, waiting = [], [Requirement("patchbay" if extra == GATEWAY else f"patchbay[{extra}]")]
    while waiting:
        for requirement in needed(waiting.pop()):
            (waiting if requirement.name == "patchbay" else found).append(requirement)
    return found


def test_what_is_asked_for_keeps_its_extras() -> None:
    line = 'cuda-toolkit[nvcc,cccl]>=13,<14; python_version >= "3.11" and extra == "cuda"'
    assert asked(Requirement(line)) == "cuda-toolkit[cccl,nvcc]<14,>=13"
    assert asked(Requirement("vllm==0.32.0")) == "vllm==0.32.0"


def test_every_extra_has_a_lock_and_every_lock_an_extra() -> None:
    assert sorted(file.stem for file in LOCKS.iterdir()) == sorted(extras())


@pytest.mark.parametrize("extra", extras())
def test_every_line_is_a_pin_with_hashes(extra: str) -> None:
    text = (LOCKS / f"{extra}.txt").read_text()
    rest = [line for line in ENTRY.sub("", text).splitlines() if line and not line.startswith("#")]
    assert rest == []
    assert len(entries(extra)) > 10
    assert "://" not in text


@pytest.mark.parametrize("extra", extras())
def test_what_the_project_asks_for_is_locked_in_a_version_that_it_works_with(extra: str) -> None:
    versions = locked(extra)
    from_pytorch = FROM_PYTORCH if extra == "cpu" else ()
    for requirement in asked_for(extra):
        name = canonicalize_name(requirement.name)
        if name in from_pytorch:
            assert name not in versions
        else:
            assert requirement.specifier.contains(versions[name]), f"{extra}: {name} {versions[name]}"


@pytest.mark.parametrize("extra", [GATEWAY, "cpu", "demo", "otel"])
def test_what_is_installed_here_needs_nothing_that_is_not_locked(extra: str) -> None:
    """So that `pip install --no-deps` of a lock leaves nothing out."""
    versions = locked(extra)
    seen: set[str] = set()
    waiting = asked_for(extra)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        if name in UNUSED:
            continue
        if name not in FROM_PYTORCH:
            assert name in versions, f"{extra}: {requirement}"
        waiting += needed(requirement)


@pytest.mark.parametrize("extra", extras())
def test_versions_are_those_of_the_images(extra: str) -> None:
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)$", constraints(extra).read_text(), re.M))
    versions = locked(extra)
    assert {name: version for name, version in versions.items() if pins.get(name, version) != version} == {}
    assert len(versions.keys() & pins.keys()) > 10


def test_a_bill_of_materials_lists_each_locked_package_with_its_hashes(tmp_path: Path) -> None:
    bill = tmp_path / "bill.json"
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "--pyproject", "pyproject.toml"]
    subprocess.run([*command, "--of", "JSON", "-o", str(bill), str(LOCKS / "gateway.txt")], check=True)
    told = json.loads(bill.read_text())
    assert told["metadata"]["component"]["name"] == "patchbay"
    assert {(part["name"], part["version"]) for part in told["components"]} == {
        (name, version) for name, version, _ in entries(GATEWAY)
    }
    assert all(part["externalReferences"][0]["hashes"] for part in told["components"])

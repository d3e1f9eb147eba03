"""What an installed Patchbay brings along is all that it reads of itself."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from service.cli.serve import EXAMPLE
from service.playground.files import STATIC, read_files
from service.settings import EMBEDDED_MODEL

ROOT = Path(__file__).parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
SOURCES = ("service", "kernels", "demo")


def is_package(folder: Path) -> bool:
    """Whether setuptools finds it: it and all above it have an `__init__.py`, and `include` names it."""
    parts = folder.relative_to(ROOT).parts
    names = (fnmatch(".".join(parts), pattern) for pattern in SETUPTOOLS["packages"]["find"]["include"])
    above = (ROOT.joinpath(*parts[:depth]) / "__init__.py" for depth in range(1, len(parts) + 1))
    return any(names) and all(file.is_file() for file in above)


def installed() -> set[Path]:
    """The modules of each package and what package-data names beside them."""
    files = {file for top in SOURCES for file in (ROOT / top).rglob("*.py") if is_package(file.parent)}
    for package, patterns in SETUPTOOLS["package-data"].items():
        folder = ROOT.joinpath(*package.split("."))
        assert is_package(folder), package
        for pattern in patterns:
            found = {file for file in folder.glob(pattern) if file.is_file()}
            assert found, f"{package}: {pattern} names nothing"
            files |= found
    return files


@pytest.mark.parametrize("top", SOURCES)
def test_no_file_is_left_behind(top: str) -> None:
    there = {
        file
        for file in (ROOT / top).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.name != "README.md"
    }
    assert there - installed() == set()


def test_what_the_page_and_the_command_read_is_installed() -> None:
    scenes = EXAMPLE.parent
    pictures = {scenes / name.removeprefix("scenes/") for name in read_files(scenes) if "scenes/" in name}
    model = {file for file in Path(EMBEDDED_MODEL).iterdir() if file.is_file()}
    assert len(pictures) > 3 and len(model) > 5
    assert {EXAMPLE, scenes / "scenes.json", *pictures, *model, *STATIC.iterdir()} <= installed()

"""What the Dockerfile and .dockerignore say, for the tests beside this file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"
TARGETS = ("gateway", "cuda", "cpu")


@dataclass(frozen=True)
class Stage:
    name: str
    parent: str
    instructions: tuple[tuple[str, str], ...]
    """(keyword, rest of the line), continuation lines joined."""

    def all(self, keyword: str) -> list[str]:
        return [rest for word, rest in self.instructions if word == keyword]


def stages(text: str) -> dict[str, Stage]:
    found: dict[str, Stage] = {}
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        keyword, rest = line.split(maxsplit=1)
        if keyword == "FROM":
            parent, _, name = rest.partition(" AS ")
            found[name] = Stage(name, parent, ())
        else:
            last = list(found.values())[-1]
            found[last.name] = Stage(
                last.name, last.parent, (*last.instructions, (keyword, " ".join(rest.split())))
            )
    return found


STAGES = stages(DOCKERFILE.read_text())


def lineage(name: str) -> list[Stage]:
    """The stage and those that it is made from, the first one first."""
    stage = STAGES[name]
    return [*(lineage(stage.parent) if stage.parent in STAGES else []), stage]


def inherited(name: str, keyword: str) -> list[str]:
    return [rest for stage in lineage(name) for rest in stage.all(keyword)]


def environment(name: str) -> dict[str, str]:
    """The variables of the stage's image."""
    pairs = re.findall(r"(\w+)=(\S+)", " ".join(inherited(name, "ENV")))
    return dict(pairs)


def context() -> list[Path]:
    """The files that .dockerignore lets into a build, relative to the root."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] not in ("#", "")]
    assert lines[0] == "*" and lines[-1] == "**/__pycache__"
    files: set[Path] = set()
    for line in lines[1:-1]:
        assert line.startswith("!"), f".dockerignore: {line!r} is not understood here"
        place = ROOT / line[1:]
        assert place.exists(), f".dockerignore lets in {line[1:]}, which does not exist"
        files |= {place} if place.is_file() else {file for file in place.rglob("*") if file.is_file()}
    return sorted(file.relative_to(ROOT) for file in files if "__pycache__" not in file.parts)

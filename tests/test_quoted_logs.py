"""Log lines that the documents quote, between “ and ”, are lines that the code writes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [
    *sorted((ROOT / "docs" / "runbooks").glob("*.md")),
    *(ROOT / "docs" / f"{name}.md" for name in ("observability", "operating")),
]
LEVELS = {"debug", "info", "warning", "error", "critical", "exception", "log"}


def written() -> Iterator[str]:
    """The message of each call of a logger, with its placeholders."""
    for file in sorted((ROOT / "service").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in ("log", "logger")
            ):
                yield from (
                    arg.value
                    for arg in node.args
                    if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
                )


def quoted() -> list[tuple[str, str]]:
    """(page, line) of each quotation, on one line."""
    return [
        (page.name, " ".join(line.split()))
        for page in PAGES
        for line in re.findall(r"“([^”]*)”", page.read_text())
    ]


def occurs(line: str) -> bool:
    """… stands for what differs from line to line."""
    pattern = re.compile(".+".join(re.escape(part.strip()) for part in line.split("…")), re.DOTALL)
    return any(pattern.search(message) for message in WRITTEN)


WRITTEN = list(written())


@pytest.mark.parametrize(("page", "line"), quoted())
def test_a_quoted_line_is_written(page: str, line: str) -> None:
    assert occurs(line), f"{page} quotes a line that no logger writes"


def test_quotations_are_found_and_others_would_be_noticed() -> None:
    assert len(quoted()) >= 8 and len(WRITTEN) > 20
    assert occurs("the engine is ready after … s")
    assert not occurs("the engine is ready again after … s")
    assert not occurs("s … the engine is ready")

"""What the documents say is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.api.anthropic import blocks
from service.api.anthropic import fields as messages_fields
from service.api.error_table import WHEN
from service.api.responses import fields as responses_fields
from service.api.responses import items
from service.api.wire import Wire
from service.cli.api_dialects import IN_MESSAGES, IN_RESPONSES
from service.cli.api_page import api_page
from service.cli.main import parser
from service.cli.reference import metrics_page, table
from service.settings import Settings
from service.telemetry.catalogue import STAGES
from service.telemetry.metrics import Metrics

ROOT = Path(__file__).parent.parent
BODIES = (responses_fields.ResponsesFields, messages_fields.CountFields, messages_fields.MessagesFields)
README = (ROOT / "README.md").read_text()
OPERATING = (ROOT / "docs" / "operating.md").read_text()


def test_the_table_of_settings_is_the_code() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == table(), "run `make docs`"


def test_the_table_of_metrics_is_the_code() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text() == metrics_page(), "run `make docs`"


def test_the_page_of_the_api_is_the_code() -> None:
    assert (ROOT / "docs" / "api.md").read_text() == api_page(), "run `make docs`"


@pytest.mark.parametrize(
    "told, modules",
    [
        (IN_RESPONSES, (items, responses_fields)),
        (IN_MESSAGES, (blocks, messages_fields)),
    ],
)
def test_every_member_without_effect_is_told(told: dict[str, type[Wire]], modules: tuple[Any, ...]) -> None:
    kinds = [kind for module in modules for kind in vars(module).values() if isinstance(kind, type)]
    within = [kind for kind in kinds if issubclass(kind, Wire) and kind not in BODIES]
    listed = [kind.ignored for kind in told.values()]
    assert [kind.__name__ for kind in within if kind.ignored and kind.ignored not in listed] == []


def test_settings_and_metrics_that_operators_read_of_exist() -> None:
    named = set(re.findall(r"`((?!patchbay_)[a-z]+(?:_[a-z0-9]+)+)`", OPERATING))
    known = set(Settings.model_fields) | set(STAGES) | {kind.code for kind in WHEN}
    assert named - known == set()
    assert len(named) > 12
    metrics = set(re.findall(r"`(patchbay_\w+)", OPERATING))
    registered = {family.name for family in Metrics(CollectorRegistry()).families}
    assert {name for name in metrics if re.sub(r"_(bucket|sum|count)$", "", name) not in registered} == set()
    assert len(metrics) > 8


def test_flags_that_operators_read_of_exist() -> None:
    commands = parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    flags = {flag for command in commands.values() for flag in command._option_string_actions}  # type: ignore[union-attr]
    of_other_programs = {"--set", "--logs", "--max-num-seqs", "--data-parallel-size", "--nnodes"}
    assert set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", OPERATING)) - flags - of_other_programs == set()


def followed() -> list[tuple[str, str]]:
    """(file, name) of each row of the README's table "Follow one image"."""
    section = README.partition("## Follow one image")[2].partition("\n## ")[0]
    return re.findall(r"\[`[^`]+`\]\(([\w/.]+\.py)\)[^|]*`([\w.]+)`", section)


def test_each_step_of_an_images_path_names_a_function_in_its_file() -> None:
    steps = followed()
    assert len(steps) > 10
    assert [
        (file, name)
        for file, name in steps
        if not re.search(rf"\bdef {name.rpartition('.')[2]}\(", (ROOT / file).read_text())
    ] == []


@pytest.mark.parametrize(
    "document", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda p: p.name
)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_file_tree_names_real_places() -> None:
    block = README.partition("## Source tree")[2].partition("```")[2].partition("```")[0]
    stack: list[str] = []
    named = []
    for line in block.strip("\n").splitlines():
        indent, name = re.match(r"( *)(\S+)", line).groups()  # type: ignore[union-attr]
        stack[len(indent) // 2 :] = [name.rstrip("/")]
        named.append("/".join(stack))
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []
    modules = {f"service/{file.name}" for file in (ROOT / "service").glob("[!_]*.py")}
    assert modules - set(named) == set()


def test_every_make_target_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"\bmake ([a-z0-9-]+)", README)) <= targets
    assert set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", OPERATING, re.M)) <= targets


def test_each_attack_is_held_by_a_test_that_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (ROOT / "docs" / "security.md").read_text())
    assert len(named) > 20
    absent = [
        f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / "tests" / file).read_text()
    ]
    assert absent == []


def test_the_readmes_picture_fits_into_one_argument_of_a_command() -> None:
    (picture,) = re.findall(r"base64 -w0 ([\w/.]+)\)", README)
    # Linux: MAX_ARG_STRLEN, 128 KiB; base64 makes four bytes of three
    assert (ROOT / picture).stat().st_size * 4 / 3 + 1024 < 128 * 1024

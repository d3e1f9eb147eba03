"""The table of what compiled kernels cost, and its exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from kernels import spills
from kernels.cubin import Cost


@dataclass(frozen=True)
class Form:
    name: str
    cost: Cost


def form(spilled: int = 0) -> Form:
    return Form("a", Cost(registers=30, spill_bytes=spilled, shared_bytes=2048, tensor_core_instructions=4))


COLUMNS = {"form": lambda row: row.name}


def test_each_form_is_a_row_of_its_own_columns_and_its_cost() -> None:
    assert spills.table([form()], COLUMNS).splitlines() == [
        "| form | registers | spilled | shared KB |",
        "| --- | --- | --- | --- |",
        "| a | 30 | 0 | 2 |",
    ]


@pytest.mark.parametrize(("spilled", "status"), [(0, 0), (8, 1)])
def test_a_spill_is_the_exit_status(
    spilled: int, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def compile_all() -> Iterator[Form]:
        yield form()
        yield form(spilled)

    monkeypatch.setattr("sys.argv", ["aot", "--json"])
    assert spills.main("what", compile_all, COLUMNS) == status
    assert [row["cost"]["spill_bytes"] for row in json.loads(capsys.readouterr().out)] == [0, spilled]

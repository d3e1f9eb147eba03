"""The tables of all kernels in one, without compiling: each kernel's own test does that."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernels import aot
from kernels.cubin import Cost
from kernels.spills import FORMS, Form


def form(architecture: int, spilled: int = 0) -> Form:
    return Form(architecture, "bf16", "a tower", 4, Cost(30, spilled, 2048, 0))


def test_every_kernel_that_compiles_has_a_table() -> None:
    folders = {path.parent.name for path in Path(aot.__file__).parent.glob("*/aot.py")}
    assert set(aot.KERNELS) == folders


@pytest.mark.parametrize(("sm", "status"), [("80", 0), ("90", 1), (None, 1)])
def test_rows_of_the_gpu_that_is_asked_for(
    sm: str | None, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(aot, "KERNELS", {"one": (lambda: [form(80), form(90, spilled=8)], FORMS)})
    assert aot.main([] if sm is None else ["--sm", sm]) == status
    told = capsys.readouterr().out
    assert told.startswith("## one\n\n| sm | dtype | form | warps | registers | spilled | shared KB |\n")
    assert ("| 80 | bf16 | a tower | 4 | 30 | 0 | 2 |" in told) == (sm != "90")
    assert ("| 90 | bf16 | a tower | 4 | 30 | 8 | 2 |" in told) == (sm != "80")

"""A made key opens what its entry describes."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.cli.main import main
from service.keys import KeyStore


def test_a_key_and_its_entry_fit_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = []
    with (tmp_path / "keys").open("w") as file:
        for name in ("search", "ads"):
            assert main(["key", name]) == 0
            told = capsys.readouterr()
            file.write(told.out)
            keys.append(told.err.split()[-1])
    store = KeyStore(file=tmp_path / "keys")
    assert [store.caller(f"Bearer {key}").name for key in keys] == ["search", "ads"]
    assert not any(key in (tmp_path / "keys").read_text() for key in keys)


def test_a_name_that_no_metric_could_carry_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "a b"]) == 1
    assert "'a b'" in capsys.readouterr().err

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from service.app.prepare import prepare
from service.cli.engine import engine
from service.errors import ConfigurationError
from service.settings import load


class Replaced(Exception):
    """This process would have become another program."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    def execve(path: str, argv: tuple[str, ...], environment: dict[str, str]) -> None:
        seen.extend([path, argv, environment])
        raise Replaced

    seen: list[Any] = []
    monkeypatch.setattr(os, "execve", execve)
    return seen


def test_the_engine_is_the_one_that_a_server_beside_it_expects(started: list[Any], tmp_path: Path) -> None:
    common = {"arena_dir": str(tmp_path), "arena_bytes": str(32 * 1024**2), "device": "cpu"}
    server = prepare(load({**common, "engine_url": "http://127.0.0.1:9000"}, {}))
    with pytest.raises(Replaced):
        engine({**common, "engine_port": "9000", "engine_args": ("--max-num-seqs", "64")})
    path, argv, environment = started
    assert path == argv[0]
    for flag, value in (("--host", "127.0.0.1"), ("--port", "9000"), ("--max-num-seqs", "64")):
        assert argv[argv.index(flag) + 1] == value
    assert server.arena_path in argv[argv.index("--ec-transfer-config") + 1]
    assert server.engine.port == 9000
    assert "PATCHBAY_PLUGIN" in environment


@pytest.mark.parametrize("given", [{}, {"engine_url": "http://127.0.0.1:9000"}])
def test_without_a_port_of_its_own_it_does_not_start(given: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="set engine_port here"):
        engine(given)

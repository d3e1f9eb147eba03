from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from service.app import prepare as preparation
from service.app.prepare import prepare
from service.cli.engine import engine
from service.engine.launcher import launch
from service.errors import ConfigurationError
from service.planning.machine import Machine
from service.planning.visible_gpu import GPU
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


def test_an_engine_on_gpus_of_its_own_takes_all_that_it_sees(
    started: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the one that a server starts leaves the encoder the first."""
    gpu = GPU("NVIDIA L4", 22 * 2**30, 22 * 2**30)
    machine = Machine((0, 1), 2**35, 2**34, gpu, more_gpus=(gpu, gpu))
    monkeypatch.setattr(preparation, "inspect", lambda _: machine)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    common = {"arena_dir": str(tmp_path), "encoder_gpu": "own", "tensor_parallel_size": 2}
    with pytest.raises(Replaced):
        engine({**common, "engine_port": "9000"})
    _, argv, environment = started
    assert argv[argv.index("--tensor-parallel-size") + 1] == "2"
    assert argv[argv.index("--gpu-memory-utilization") + 1] == "0.95"
    assert "CUDA_VISIBLE_DEVICES" not in environment
    child = launch(prepare(load(common, {})).engine, {})
    assert child.environment["CUDA_VISIBLE_DEVICES"] == "1,2"
    elsewhere = prepare(load({**common, "engine_url": "http://127.0.0.1:9000"}, {}))
    assert "CUDA_VISIBLE_DEVICES" not in launch(elsewhere.engine, {}).environment

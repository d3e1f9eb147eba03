"""The engine as the service makes it, over real processes: what its metrics tell of its life."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from benchmarks.processes import free_port
from service import parts
from service.engine.client import VLLMClient
from service.engine.launcher import Launch
from service.engine.supervisor import EngineSupervisor
from service.errors import ConfigurationError
from service.metrics import Metrics
from service.parts import make_engine
from service.preparation import prepare
from service.settings import load

pytestmark = pytest.mark.anyio
FAKE = Path(__file__).parent / "engine" / "fake_engine.py"


class Bench:
    """`make_engine` of a service whose engine is another program."""

    def __init__(self, ends: AsyncExitStack, monkeypatch: pytest.MonkeyPatch, port: int, *argv: str) -> None:
        monkeypatch.setattr(
            parts, "launch", lambda *_: Launch((sys.executable, "-S", *argv), {"PYTHONUNBUFFERED": "1"})
        )
        self.registry = CollectorRegistry()
        prepared = prepare(load({"images": "passthrough", "device": "cpu"}, {}))
        client = VLLMClient(f"http://127.0.0.1:{port}")
        ends.push_async_callback(client.aclose)
        self.engine = make_engine(prepared, ends, client, Metrics(self.registry))

    async def started(self) -> None:
        assert isinstance(self.engine, EngineSupervisor)
        await self.engine.started()

    def told(self) -> tuple[float | None, float | None]:
        """(up, restarts)"""
        read = self.registry.get_sample_value
        return read("patchbay_engine_up"), read("patchbay_engine_restarts_total")


async def test_an_engine_is_down_until_it_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncExitStack() as ends:
        port = free_port()
        bench = Bench(ends, monkeypatch, port, str(FAKE), str(port), str(tmp_path))
        assert bench.told() == (0, 0)
        await bench.started()
        assert bench.told() == (1, 0)
    assert bench.told() == (0, 0)


async def test_a_second_start_is_counted_even_if_the_first_never_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with AsyncExitStack() as ends:
        bench = Bench(ends, monkeypatch, free_port(), "-c", "raise SystemExit(3)")
        with pytest.raises(ConfigurationError, match="ended with status 3"):
            await bench.started()
        assert bench.told() == (0, 1)

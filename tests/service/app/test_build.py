"""Parts as the service makes them: the engine, over real processes, and what its metrics tell of its life; the images
that are let in."""

from __future__ import annotations

import io
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pybase64
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from benchmarks.processes import free_port
from service.app import build as parts
from service.app.build import make_engine, make_ingest
from service.app.prepare import prepare
from service.domain import Detail, ImageRef
from service.engine.client import VLLMClient
from service.engine.launcher import Launch
from service.engine.supervisor import EngineSupervisor
from service.errors import ConfigurationError, ImageTooNarrow
from service.settings import load
from service.telemetry.metrics import Metrics
from service.telemetry.timeline import StageTimings
from tests.service.tiny_qwen_vl import write_checkpoint

pytestmark = pytest.mark.anyio
FAKE = Path(__file__).parents[1] / "engine" / "fake_engine.py"


class Harness:
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
        harness = Harness(ends, monkeypatch, port, str(FAKE), str(port), str(tmp_path))
        assert harness.told() == (0, 0)
        await harness.started()
        assert harness.told() == (1, 0)
    assert harness.told() == (0, 0)


async def test_a_second_start_is_counted_even_if_the_first_never_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with AsyncExitStack() as ends:
        harness = Harness(ends, monkeypatch, free_port(), "-c", "raise SystemExit(3)")
        with pytest.raises(ConfigurationError, match="exited with status 3"):
            await harness.started()
        assert harness.told() == (0, 1)


async def test_images_are_admitted_as_the_geometry_takes_them(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, tokenizer=True)
    prepared = prepare(load({"images": "passthrough", "device": "cpu", "model": str(tmp_path)}, {}))
    async with AsyncExitStack() as ends:
        ingest = make_ingest(prepared, ends)
        assert (await ingest.read(picture(1000, 5), StageTimings(), ingest.budget())).width == 1000
        with pytest.raises(ImageTooNarrow, match="1001 × 5 pixels; .* at most 200 times"):
            await ingest.read(picture(1001, 5), StageTimings(), ingest.budget())


def picture(width: int, height: int) -> ImageRef:
    data = io.BytesIO()
    Image.new("RGB", (width, height)).save(data, "PNG")
    return ImageRef(
        f"data:image/png;base64,{pybase64.b64encode(data.getvalue()).decode()}", Detail.AUTO, 0, 0, "here"
    )

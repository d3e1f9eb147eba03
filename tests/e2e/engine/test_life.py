"""The engine's life on real vLLM: started, asked, left in the middle, killed, started again, stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.processes import free_port
from service.arena import ArenaStore
from service.engine.client import VLLMClient, VLLMReply
from service.engine.flags import REFUSED
from service.engine.launcher import EngineSpec, HandlesSpec, launch
from service.engine.supervisor import EngineState, EngineSupervisor, Pace
from service.errors import EngineFailed, EngineUnavailable
from tests.e2e.engine.conftest import MAX_ROWS

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

CHAT = "/v1/chat/completions"
LONG = 900
SECONDS = 600
"""More than anything here takes, so that what never comes fails the test."""


@pytest.fixture
def spec(checkpoint: Path, store: ArenaStore) -> EngineSpec:
    config = json.loads((checkpoint / "config.json").read_text())
    port = free_port()
    width = config["text_config"]["hidden_size"]
    return EngineSpec(
        model=str(checkpoint),
        served_model_name="m",
        port=port,
        device="cpu",
        dtype="float32",
        max_model_len=1024,
        max_batched_tokens=1024,
        kv_cache_bytes=2**27,
        handles=HandlesSpec(str(store.path), width, MAX_ROWS, config["architectures"][0]),
        tool_call_parser="hermes",
    )


class Life:
    def __init__(self, spec: EngineSpec) -> None:
        self.states: list[EngineState] = []
        self.port = str(spec.port)
        self.client = VLLMClient(spec.base_url)
        self.supervisor = EngineSupervisor(
            launch(spec, os.environ),
            self.client.health,
            on_state=self.states.append,
            pace=Pace(start_timeout=SECONDS),
        )

    async def ask(self, **options: Any) -> VLLMReply:
        payload = {
            "model": "m",
            "messages": [{"role": "user", "content": "hello"}],
            "temperature": 0,
            **options,
        }
        return await self.client.post(CHAT, payload, {})

    async def answer(self, **options: Any) -> tuple[int, dict[str, Any]]:
        reply = await self.ask(**options)
        body = b"".join([chunk async for chunk in reply.body()])
        await reply.aclose()
        return reply.status, json.loads(body)

    async def metric(self, name: str) -> float:
        reply = await self.client.get("/metrics")
        text = b"".join([chunk async for chunk in reply.body()]).decode()
        lines = [line.rpartition(" ") for line in text.splitlines() if line.partition("{")[0] == name]
        return sum(float(value) for _, _, value in lines)

    async def until(self, true: Callable[[float], bool], name: str) -> None:
        async with asyncio.timeout(SECONDS):
            while not true(await self.metric(name)):
                await asyncio.sleep(0.01)

    def tree(self) -> list[psutil.Process]:
        """vLLM's processes: this engine's reaper and all below it. Other tests' engines may run beside it."""
        reapers = [
            each
            for each in psutil.Process().children()
            if not _gone(each) and self.port in words_of(each).split()
        ]
        return reapers + [below for reaper in reapers for below in reaper.children(recursive=True)]

    def named(self, name: str) -> psutil.Process:
        (found,) = [each for each in self.tree()[1:] if name in words_of(each)]
        return found

    async def comes_back(self, before: list[psutil.Process]) -> None:
        async with asyncio.timeout(SECONDS):
            while EngineState.DOWN not in self.states:
                await asyncio.sleep(0.01)
        await self.supervisor.wait_ready(SECONDS)
        assert gone(before)


@pytest.fixture
async def life(spec: EngineSpec) -> AsyncIterator[Life]:
    made = Life(spec)
    made.supervisor.start()
    yield made
    await made.supervisor.stop()
    await made.client.aclose()


def gone(processes: list[psutil.Process]) -> bool:
    """Ended; whoever should take them in may not have done so yet."""
    return all(_gone(each) for each in processes)


def _gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def words_of(process: psutil.Process) -> str:
    """Its command line; nothing of one that has ended since it was listed, as the helpers of a start do."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


async def test_an_engine_from_its_start_to_its_end(life: Life) -> None:
    await life.supervisor.started()
    first = life.tree()

    status, body = await life.answer(max_tokens=4)
    assert status == 200 and body["usage"]["prompt_tokens"] > 0
    assert body["usage"]["prompt_tokens_details"]["cached_tokens"] == 0

    await a_left_request_ends(life, stream=True)
    await a_left_request_ends(life, stream=False)

    await a_killed_engine_ends_its_streams_and_comes_back(life, "VLLM::EngineCore")
    assert gone(first)
    second = life.tree()
    await a_killed_engine_ends_its_streams_and_comes_back(life, "api_server")
    assert gone(second)
    assert life.supervisor.restarts == 2

    third = life.tree()
    await life.supervisor.stop()
    assert third and gone(third) and not life.tree()


async def a_left_request_ends(life: Life, *, stream: bool) -> None:
    made = await life.metric("vllm:generation_tokens_total")
    if stream:
        reply = await life.ask(stream=True, max_tokens=LONG, ignore_eos=True)
        await anext(reply.body())
        await life.until(lambda running: running == 1, "vllm:num_requests_running")
        await reply.aclose()
    else:
        asking = asyncio.create_task(life.ask(max_tokens=LONG, ignore_eos=True))
        await life.until(lambda running: running == 1, "vllm:num_requests_running")
        asking.cancel()
    await life.until(lambda running: running == 0, "vllm:num_requests_running")
    # not by having come to its end
    assert await life.metric("vllm:generation_tokens_total") - made < LONG


async def a_killed_engine_ends_its_streams_and_comes_back(life: Life, name: str) -> None:
    before = life.tree()
    life.states.clear()
    reply = await life.ask(stream=True, max_tokens=LONG, ignore_eos=True)
    chunks = reply.body()
    read = await anext(chunks)
    life.named(name).send_signal(signal.SIGKILL)
    try:
        async with asyncio.timeout(SECONDS):
            async for chunk in chunks:
                read += chunk
        ended_by = "event"
    except EngineFailed:
        ended_by = "exception"
    await reply.aclose()
    assert ended_by == "exception" or b'data: {"error"' in read
    assert b'"finish_reason":"' not in read
    await life.comes_back(before)
    status, _ = await life.answer(max_tokens=4)
    assert status == 200


STARTER = """
import asyncio, json, sys
from service.engine.child import Child
from service.engine.launcher import Launch

async def main():
    child = await Child.start(Launch(tuple(json.loads(sys.argv[1])), json.loads(sys.argv[2])), grace=10)
    await child.wait()

asyncio.run(main())
"""


async def test_nothing_of_the_engine_outlives_a_killed_gateway(spec: EngineSpec) -> None:
    made = launch(spec, os.environ)
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, json.dumps(made.argv), json.dumps(dict(made.environment))]
    )
    try:
        async with asyncio.timeout(SECONDS):
            while not any("VLLM::EngineCore" in words_of(each) for each in alive_below(starter.pid)):
                await asyncio.sleep(0.1)
        processes = alive_below(starter.pid)
    finally:
        starter.kill()
        starter.wait()
    async with asyncio.timeout(SECONDS):
        while not gone(processes):
            await asyncio.sleep(0.01)


def alive_below(pid: int) -> list[psutil.Process]:
    return [each for each in psutil.Process(pid).children(recursive=True) if not gone([each])]


async def test_an_engine_that_cannot_start_says_why(spec: EngineSpec) -> None:
    unknown = EngineSpec(**{**as_fields(spec), "extra_args": ("--no-such-flag-of-vllm",)})
    life = Life(unknown)
    life.supervisor.start()
    try:
        with pytest.raises(Exception, match="unrecognized arguments: --no-such-flag-of-vllm"):
            await life.supervisor.started()
        with pytest.raises(EngineUnavailable, match="The engine is failed"):
            await life.supervisor.wait_ready(0.01)
    finally:
        await life.supervisor.stop()
        await life.client.aclose()


def as_fields(spec: EngineSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in EngineSpec.__slots__}


KNOWN = """
try:
    from vllm.entrypoints.common.cli_args import make_arg_parser  # since 0.33
except ImportError:
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
print(*make_arg_parser(FlexibleArgumentParser())._option_string_actions)
"""


async def test_vllm_knows_every_flag_that_patchbay_gives_or_refuses(spec: EngineSpec) -> None:
    listed = subprocess.run([sys.executable, "-c", KNOWN], capture_output=True, text=True, check=True)
    known = set(listed.stdout.split())
    gpu = EngineSpec(**{**as_fields(spec), "device": "cuda", "gpu_memory_utilization": 0.9, "revision": "x"})
    given = {word for each in (spec, gpu) for word in launch(each, {}).argv if word.startswith("--")}
    assert given - known == set()
    assert REFUSED.keys() - known == set()

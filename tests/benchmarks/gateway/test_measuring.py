"""The stand-in speaks as the engine does, wrong answers are noticed, and processor time is the right process's."""

import asyncio
import os
import time
from collections.abc import AsyncIterator

import pytest

from benchmarks.gateway.__main__ import table
from benchmarks.gateway.clients import Load, run
from benchmarks.gateway.engine import Engine
from benchmarks.gateway.gateways import Cost, Gateway, measure

pytestmark = pytest.mark.anyio
LOADS = [Load("whole", 3, 4, stream=False), Load("short", 3, 2), Load("long", 2, 40)]


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with Engine(0) as engine:
        yield engine


@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.name)
async def test_what_the_stand_in_says_is_right_without_a_gateway_between(engine: Engine, load: Load) -> None:
    heard = await run(engine.url, "a model", engine, load, clients=4, turn="t")
    assert (heard.answers, heard.faults) == (4 * load.requests, [])
    # a role, the tokens, [DONE]
    assert heard.events == (heard.answers * (load.tokens + 2) if load.stream else 0)


@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.name)
async def test_a_token_that_is_not_the_engine_s_is_a_fault(
    engine: Engine, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.gateway.clients.answer", lambda question, tokens: "something else")
    heard = await run(engine.url, "a model", engine, load, clients=1, turn="t")
    assert len(heard.faults) == heard.answers


async def test_an_answer_that_breaks_off_is_an_error(engine: Engine) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(ConnectionError):
        await run(url, "a model", engine, LOADS[1], clients=1, turn="t")
    server.close()


class Forgetful(Gateway):
    def answered(self) -> int:
        return 0


async def test_requests_that_the_gateway_does_not_count_are_an_error(engine: Engine) -> None:
    gateway = Forgetful("tree", engine.url, os.getpid())
    with pytest.raises(RuntimeError, match="6 answers, of which the gateway counted 0"):
        await measure(gateway, engine, Load("short", 3, 2), clients=2, turn="t")


async def test_a_wrong_answer_is_an_error(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter((0, 1))
    monkeypatch.setattr(Gateway, "answered", lambda self: next(counts))
    monkeypatch.setattr("benchmarks.gateway.clients.answer", lambda question, tokens: "something else")
    with pytest.raises(RuntimeError, match="counted 1\nt-0-0: 200"):
        await measure(
            Gateway("tree", engine.url, os.getpid()), engine, Load("short", 1, 2), clients=1, turn="t"
        )


def test_processor_time_is_that_of_the_process() -> None:
    me = Gateway("tree", "", os.getpid())
    before, own = me.cpu_seconds(), time.process_time()
    sum(range(10**6))
    assert 0 < me.cpu_seconds() - before <= time.process_time() - own + 0.1


def test_the_slope_is_of_one_event() -> None:
    rounds = [{"whole": Cost(1, 0), "short": Cost(2, 1), "long": Cost(2 + 0.05 * 128, 1)}]
    assert table({"here": rounds}).splitlines()[-1] == (
        "| here | 1.00 (1.00–1.00) | 2.00 (2.00–2.00) | 50 (50–50) | 1.00 (1.00–1.00) |"
    )

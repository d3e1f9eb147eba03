"""A start that comes to nothing leaves no pipe open, and an end is not left half done."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from service.engine.child import Child
from service.engine.launcher import Launch
from tests.waiting import DEADLOCK, until

pytestmark = pytest.mark.anyio


FOR_EVER = Launch((sys.executable, "-S", "-c", "import signal; signal.pause()"), {})


async def test_a_start_that_is_cancelled_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[asyncio.subprocess.Process] = []
    start_process = asyncio.create_subprocess_exec

    async def noting(*command: Any, **options: Any) -> asyncio.subprocess.Process:
        started.append(await start_process(*command, **options))
        start.cancel()
        return started[0]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noting)
    before = os.listdir("/proc/self/fd")
    start = asyncio.create_task(Child.start(FOR_EVER, grace=DEADLOCK))
    with pytest.raises(asyncio.CancelledError):
        await start
    assert started[0].returncode is not None
    await until(lambda: os.listdir("/proc/self/fd") == before)


async def test_a_start_that_fails_leaves_no_pipe_open(monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", full)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="temporarily unavailable"):
        await Child.start(Launch(("engine",), {}), grace=1)
    await until(lambda: os.listdir("/proc/self/fd") == before)


async def test_an_end_that_is_cancelled_ends_everything_first() -> None:
    child = await Child.start(FOR_EVER, grace=DEADLOCK)
    ending = asyncio.create_task(child.end())
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert child._process.returncode is not None
    assert child._output.is_closing()


STARTER = """
import asyncio, sys
from service.arena import ArenaSpec, ArenaStore
from service.engine.child import Child
from service.engine.launcher import Launch

async def main():
    store = ArenaStore(sys.argv[1], ArenaSpec(3, "float32", 4, 6, 5, 3))
    argv = (sys.executable, "-S", "-c", "import signal; signal.pause()")
    child = await Child.start(Launch(argv, {}, leftovers=(sys.argv[1],)), grace=60)
    print("ready", flush=True)
    await child.wait()

asyncio.run(main())
"""


async def test_the_arena_of_a_killed_gateway_is_removed(tmp_path: Path) -> None:
    arena = tmp_path / "arena"
    starter = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", STARTER, str(arena)), stdout=asyncio.subprocess.PIPE
    )
    assert starter.stdout is not None and await starter.stdout.readline() == b"ready\n"
    assert arena.exists()
    starter.kill()
    await starter.communicate()
    await until(lambda: not arena.exists(), pause=0.01)


@pytest.mark.parametrize("tracebacks", [False, True])
async def test_of_a_traceback_the_cause_is_a_warning_and_the_rest_where_it_is_asked_for(
    caplog: pytest.LogCaptureFixture, tracebacks: bool
) -> None:
    caplog.set_level(logging.DEBUG, "service.engine")
    prefix = "(EngineCore pid=2) ERROR 01-31 12:00:00 [b.py:2]"
    warning = "(APIServer pid=1) WARNING 01-31 12:00:00 [a.py:1] it may end in OSError: too many files"
    lines = [
        warning,
        f"{prefix} Traceback (most recent call last):",
        f"{prefix}   File a, line 1",
        f"{prefix} KeyError: {'3' * 500}",
    ]
    print_them = f"print({chr(10).join(lines)!r})"
    child = await Child.start(Launch((sys.executable, "-S", "-c", print_them), {}), grace=DEADLOCK)
    child.tracebacks = tracebacks
    await child.wait()
    await child.end()
    levels = [record.levelname for record in caplog.records if "EngineCore" in record.getMessage()]
    assert levels == (["WARNING"] * 3 if tracebacks else ["DEBUG", "DEBUG", "WARNING"])
    (told,) = child.last_lines()
    assert told == f"KeyError: {'3' * 390}…"


@pytest.mark.parametrize("serving", [False, True])
async def test_what_a_client_wrote_is_in_no_line_of_a_service(
    caplog: pytest.LogCaptureFixture, serving: bool
) -> None:
    caplog.set_level(logging.DEBUG, "service.engine")
    line = "(APIServer pid=1) ERROR 01-31 12:00:00 [s.py:9] VLLMValidationError: no."
    told = f"{line} (parameter=bad_words, value=['(secret', ' '])\n{line} (value=secret)"
    print_it = f"print({told!r})"
    child = await Child.start(Launch((sys.executable, "-S", "-c", print_it), {}), grace=DEADLOCK)
    child.tracebacks = serving
    await child.wait()
    await child.end()
    logged = " ".join(caplog.messages)
    assert ("secret" in logged, "secret" in " ".join(child.last_lines())) == (not serving, not serving)
    assert not serving or "(parameter=bad_words, value=…" in logged

"""Keeps the engine alive: starts it, checks its health, and restarts it when it has died or hangs.

Independent of vLLM: it needs only a command line and a health check.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from service.engine.child import Child
from service.engine.launcher import Launch
from service.engine.oom import OomWatch, oom_kills
from service.errors import ConfigurationError, EngineUnavailable

log = logging.getLogger(__name__)
T = TypeVar("T")


class EngineState(StrEnum):
    STARTING = "starting"
    READY = "ready"
    DOWN = "down"
    """Dead, not responding, or waiting for its next start."""
    FAILED = "failed"
    """Never became ready, and will not be started again."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Pace:
    """Times in seconds, and counts."""

    starting_poll: float = 0.25
    ready_poll: float = 1.0
    unhealthy_polls: int = 5
    """Failed health checks in a row after which a running process is considered hung."""
    start_timeout: float = 900.0
    start_attempts: int = 2
    """Failed starts before the first success after which the supervisor gives up; after a success it never does."""
    first_backoff: float = 1.0
    """Wait before the second restart in a row; the first comes at once. Doubles each time."""
    most_backoff: float = 60.0
    stable: float = 60.0
    """After being ready for this long, the next failure counts as the first again."""
    grace: float = 10.0
    """How long the engine may take to stop before it is killed."""
    expected_start: float = 30.0
    """Assumed duration of a start until one has been measured."""


class EndReason(StrEnum):
    """Why a run of the engine ended."""

    NOT_STARTED = "not_started"
    EXIT = "exit"
    SIGNAL = "signal"
    OOM = "oom"
    """The kernel had just killed a process of this container for want of memory."""
    START_TIMEOUT = "start_timeout"
    UNHEALTHY = "unhealthy"


class Ended(Exception):
    """One run of the engine has ended; the text says how and continues "the engine …"."""

    def __init__(self, reason: EndReason, how: str) -> None:
        super().__init__(how)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class End:
    """How a run of the engine ended."""

    reason: EndReason
    how: str
    """Continues "the engine …"."""
    lines: str = ""
    """Its last log lines."""
    ready_seconds: float = 0.0
    """For how long it had been ready."""

    def __str__(self) -> str:
        return f"{self.how}. Its last log lines:\n{self.lines}"


class EngineSupervisor:
    """Implements `domain.EngineLife`. `on_state` is called with each new state, in the event loop."""

    def __init__(
        self,
        launch: Launch,
        health: Callable[[], Coroutine[Any, Any, bool]],
        *,
        on_state: Callable[[EngineState], None] = lambda state: None,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
        oom_kills: Callable[[], int] = oom_kills,
    ) -> None:
        self.state = EngineState.DOWN
        self.restarts = 0
        """Starts after the first."""
        self.ends: dict[str, float] = dict.fromkeys(EndReason, 0)
        """Runs that ended by themselves or had to be ended, by reason; `stop` is no such end."""
        self.session: int | None = None
        """Id of the session in which the engine's processes run."""
        self._launch = launch
        self._health = health
        self._on_state = on_state
        self._pace = pace or Pace()
        self._clock = clock
        self._sleep = sleep
        self._oom = OomWatch(clock, oom_kills)
        self._ready = asyncio.Event()
        self._was_ready = False
        self._start_seconds = self._pace.expected_start
        self._start_at = clock()
        """When the current start began, or the next one will."""
        self._keeper: asyncio.Task[None] | None = None
        self._child: Child | None = None
        self._tracebacks = False
        self._ended = asyncio.Event()
        self._last_end: End | None = None

    def start(self) -> None:
        """Starts the engine and keeps it alive in the background; returns at once."""
        self._keeper = asyncio.create_task(self._keep_alive(), name="engine supervisor")

    async def stop(self) -> None:
        """Stops the engine and returns when none of its processes is left."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError, ConfigurationError):
                await self._keeper
        self._enter(EngineState.STOPPED)

    async def started(self) -> None:
        """Returns when the engine is ready for the first time.

        Raises ConfigurationError, with the engine's last log lines, when it could not be started.
        """
        if self._keeper is None:
            raise RuntimeError("start() comes before started()")
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait({ready, self._keeper}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if self._keeper.done():
            await self._keeper

    def show_tracebacks(self) -> None:
        """From now on the engine's tracebacks are logged as warnings; before, only the lines with their causes."""
        self._tracebacks = True
        if self._child is not None:
            self._child.tracebacks = True

    async def last_end(self, timeout: float) -> End | None:
        """How the last run to have been ready ended; None when it has not, after `timeout` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._ended.wait()
                return self._last_end
        return None

    @property
    def ready(self) -> bool:
        """Whether the engine took requests when it was last checked."""
        return self.state is EngineState.READY

    @property
    def incarnation(self) -> int:
        """Which run of the engine it is, counted from 0."""
        return self.restarts

    async def alive(self) -> bool:
        """Checks now; an engine that does not respond is no longer ready."""
        if self.state is EngineState.READY and not await self._health() and self.state is EngineState.READY:
            self._enter(EngineState.DOWN)
        return self.state is EngineState.READY

    async def wait_ready(self, timeout: float) -> None:
        """Returns once the engine responds.

        Raises EngineUnavailable after `timeout` seconds, or at once where a restart is not expected to end by then.
        """
        try:
            async with asyncio.timeout(timeout):
                while not await self.alive():
                    if self._was_ready and self.retry_after() > timeout:
                        raise self.unavailable()
                    await self._ready.wait()
        except TimeoutError:
            raise self.unavailable() from None

    def unavailable(self) -> EngineUnavailable:
        return EngineUnavailable(f"The engine is {self.state}.", retry_after=self.retry_after())

    def retry_after(self) -> float:
        """Seconds until the engine should be ready, estimated from its last start; at least 1."""
        if self.state is EngineState.READY:
            return 1.0
        return max(1.0, self._start_at + self._start_seconds - self._clock())

    async def _keep_alive(self) -> None:
        failures = 0
        while True:
            end = self._last_end = await self._one_run()
            self._ended.set()
            failures = 1 if end.ready_seconds >= self._pace.stable else failures + 1
            if not self._was_ready and failures >= self._pace.start_attempts:
                self._enter(EngineState.FAILED)
                raise ConfigurationError(
                    f"the engine {end.how} and has never been ready. Its last log lines:\n{end.lines}"
                )
            backoff = self._backoff(failures)
            self._start_at = self._clock() + backoff
            self._enter(EngineState.DOWN)
            log.error(
                "the engine %s; restarting it in %g s. Its last log lines:\n%s", end.how, backoff, end.lines
            )
            await self._sleep(backoff)
            self.restarts += 1

    def _backoff(self, failures: int) -> float:
        if failures == 1:
            return 0.0
        # the exponent is limited too: 2.0 ** 1100 overflows
        return min(self._pace.most_backoff, self._pace.first_backoff * 2.0 ** min(failures - 2, 60))

    async def _one_run(self) -> End:
        """From start to end."""
        self._start_at = self._clock()
        self._enter(EngineState.STARTING)
        try:
            child = await Child.start(self._launch, self._pace.grace)
        except OSError as error:
            self.ends[EndReason.NOT_STARTED] += 1
            return End(EndReason.NOT_STARTED, f"could not be started ({error})")
        self.session, self._child = child.session, child
        child.tracebacks = self._tracebacks
        exited = asyncio.create_task(child.wait())
        ready_at: float | None = None
        try:
            await self._become_ready(exited)
            ready_at = self._clock()
            self._start_seconds = ready_at - self._start_at
            log.info("the engine is ready after %.0f s", self._start_seconds)
            self._was_ready = True
            self._ended.clear()
            await self._stay_ready(exited)
        except Ended as ended:
            reason, how = ended.reason, str(ended)
            if self._oom.lately():
                reason, how = EndReason.OOM, f"{how}, and the kernel killed a process for want of memory"
            self.ends[reason] += 1
        finally:
            exited.cancel()
            # the next start begins no earlier
            self._start_at = self._clock()
            # not ready any more while the processes are being stopped
            if self.state is EngineState.READY:
                self._enter(EngineState.DOWN)
            await child.end()
        ready_seconds = 0.0 if ready_at is None else self._clock() - ready_at
        return End(reason, how, "\n".join(child.last_lines()), ready_seconds)

    async def _become_ready(self, exited: asyncio.Task[int]) -> None:
        while not await unless(exited, self._health()):
            if self._clock() - self._start_at > self._pace.start_timeout:
                raise Ended(EndReason.START_TIMEOUT, f"was not ready after {self._pace.start_timeout:g} s")
            await unless(exited, self._sleep(self._pace.starting_poll))
            self._oom.look()

    async def _stay_ready(self, exited: asyncio.Task[int]) -> None:
        missed = 0
        while missed < self._pace.unhealthy_polls:
            self._enter(EngineState.DOWN if missed else EngineState.READY)
            await unless(exited, self._sleep(self._pace.ready_poll))
            missed = 0 if await unless(exited, self._health()) else missed + 1
            self._oom.look()
        raise Ended(EndReason.UNHEALTHY, f"did not answer {missed} health checks in a row")

    def _enter(self, state: EngineState) -> None:
        if state is self.state:
            return
        self.state = state
        if state is EngineState.READY:
            self._ready.set()
        else:
            self._ready.clear()
        self._on_state(state)


async def unless(exited: asyncio.Task[int], work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. Raises Ended as soon as the process has exited."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({exited, task}, return_when=asyncio.FIRST_COMPLETED)
        if exited.done():
            status = exited.result()
            if status > 128:
                raise Ended(EndReason.SIGNAL, f"was killed by signal {status - 128}")
            raise Ended(EndReason.EXIT, f"exited with status {status}")
        return task.result()
    finally:
        task.cancel()

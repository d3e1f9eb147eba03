"""One run of the engine: its processes under their reaper, and what they write to their log."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from service.engine import reaper
from service.engine.launcher import Launch

log = logging.getLogger(__name__)

LINES_KEPT = 400
LINES_SHOWN = 8
LINE_SHOWN = 400
"""Characters of each; vLLM lists all names of a model's tensors."""
LINE_BYTES = 16 * 1024
SEVERE = re.compile(r"\b(ERROR|CRITICAL|Traceback)\b")
CAUSE = re.compile(r"\b\w*(Error|Exception|error): ")
"""The line of a Python traceback, or of an argument parser, that says what was wrong."""
HARMLESS = re.compile(r"\b(DEBUG|INFO|WARNING) \d\d-\d\d ")
"""vLLM's log lines below errors, some of which speak of errors that might be."""
TRACEBACK = re.compile(r"Traceback \(most recent call last\)|^\s|^$")
"""Its other lines."""
PREFIX = re.compile(r"^(\([^)]*\) )?(ERROR|CRITICAL) [\d-]+ [\d:]+ \[[^\]]*\] ?")
"""The prefix of vLLM's log lines: `(EngineCore pid=1) ERROR 01-31 12:00:00 [core.py:1] `."""

VALUE = re.compile(r"(?<=[ (])value=.*")
"""With what vLLM ends the line that tells a refusal. Of a request, it is what the client wrote."""


class Child:
    """A started command line. `end` must be called in every case."""

    tracebacks = False
    """Whether lines of tracebacks are logged as warnings too. While a service starts, the line with the cause is
    enough, and whoever reports the failure quotes it. Afterwards, lines are about requests, and lose the values that
    were refused."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        output: asyncio.ReadTransport,
        reader: asyncio.StreamReader,
        grace: float,
    ) -> None:
        self._process = process
        self._output = output
        self._grace = grace
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._forwarding = asyncio.create_task(self._forward(reader))

    @classmethod
    async def start(cls, launch: Launch, grace: float) -> Child:
        """Starts `launch` in a session of its own. Once asked to stop, it is killed after `grace` seconds.

        A caller that is cancelled meanwhile leaves no process behind. Raises OSError when the system cannot start
        another process.
        """
        starting = asyncio.create_task(cls._start(launch, grace))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            with suppress(OSError):
                await (await starting).end()
            raise

    @classmethod
    async def _start(cls, launch: Launch, grace: float) -> Child:
        removing = [word for file in launch.leftovers for word in ("--remove", file)]
        command = [sys.executable, "-I", "-S", reaper.__file__, *removing, str(grace), *launch.argv]
        read_end, write_end = os.pipe()
        try:
            output, reader = await _reader(read_end)
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.PIPE,  # never written: when it closes, we are gone
                    stdout=write_end,
                    stderr=write_end,
                    env=dict(launch.environment),
                    start_new_session=True,
                )
            except BaseException:
                output.close()
                raise
        finally:
            os.close(write_end)
        return cls(process, output, reader, grace)

    @property
    def session(self) -> int:
        """Id of the session of its processes."""
        return self._process.pid

    async def wait(self) -> int:
        """The exit status, once the reaper and with it the whole tree has ended; 128 + n for signal n."""
        status = await self._process.wait()
        return status if status >= 0 else 128 - status

    async def end(self) -> None:
        """Stops the tree if it is running; returns when no process of it is left and its last log line was read.

        A caller that is cancelled meanwhile is told so afterwards: nothing is left half ended.
        """
        ending = asyncio.create_task(self._end())
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await ending
            raise

    async def _end(self) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.terminate()
            with suppress(TimeoutError):
                # the reaper keeps the time; this is for a reaper that hangs
                async with asyncio.timeout(self._grace + 5):
                    await self._process.wait()
        if self._process.returncode is None or self._process.returncode < 0:
            # the reaper hangs, or was killed itself: the tree may be running on with nothing to stop it
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        with suppress(TimeoutError):
            # returns at once, unless a process that left the group holds the log open
            async with asyncio.timeout(2):
                await self._forwarding
        self._output.close()

    def last_lines(self) -> Sequence[str]:
        """The errors among the last log lines, or just the last lines if there are none."""
        lines = [PREFIX.sub("", line) for line in self._lines]
        causes = list(
            dict.fromkeys(line for line in lines if CAUSE.search(line) and not HARMLESS.search(line))
        )
        shown = (causes or [line for line in lines if line.strip()])[-LINES_SHOWN:]
        return [line if len(line) <= LINE_SHOWN else f"{line[:LINE_SHOWN]}…" for line in shown]

    async def _forward(self, reader: asyncio.StreamReader) -> None:
        """Logs vLLM's errors as warnings, because it survives most of them, and everything else at debug level."""
        rest = b""
        while data := await reader.read(LINE_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._line(line)
            if len(rest) > LINE_BYTES:
                self._line(rest)
                rest = b""
        if rest:
            self._line(rest)

    def _line(self, raw: bytes) -> None:
        line = raw.rpartition(b"\r")[2] if not raw.endswith(b"\r") else raw[:-1]
        text = line.decode(errors="replace")
        if self.tracebacks:
            text = VALUE.sub("value=…", text)
        self._lines.append(text)
        severe = SEVERE.search(text) and (self.tracebacks or not TRACEBACK.search(PREFIX.sub("", text)))
        log.log(logging.WARNING if severe else logging.DEBUG, "engine: %s", text)


async def _reader(file: int) -> tuple[asyncio.ReadTransport, asyncio.StreamReader]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(file, "rb", 0)
    )
    return transport, reader

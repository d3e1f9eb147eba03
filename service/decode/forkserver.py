"""The fork server: one process that has loaded everything and forks a worker in milliseconds.

Loading torch takes seconds, and an image that kills a worker must not cost them again. Blocking, thread-safe.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_ENVIRONMENT = {
    "PYTHONPATH": str(_ROOT),
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "LANG": "C.UTF-8",
}
"""A worker's whole environment: it inherits nothing of ours."""
_FORK_SECONDS = 10.0
"""A fork takes milliseconds; a server that is silent for this long is replaced."""

log = logging.getLogger(__name__)

_SCHEDULED = 2
"""CPUCLOCK_SCHED of the kernel: the time for which it was scheduled, user and system."""


class CannotStart(Exception):
    """No worker could be started; no image is to blame."""


class _NoAnswer(CannotStart):
    """The fork server has died, or stands still."""


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    max_pixels: int
    tile_bytes: int
    timeout: float
    """Seconds for one image."""
    startup_timeout: float
    """Seconds until the fork server has loaded its libraries."""


class Worker:
    """A worker process: a descriptor for the process itself, and our ends of its two pipes."""

    def __init__(self, pid: int, handle: int, requests: int, answers: int) -> None:
        self.pid = pid
        self.requests = requests
        """Does not block."""
        self.answers = answers
        self._handle = handle

    def kill(self) -> None:
        """Harmless when it has ended: unlike a process id, the handle can never mean another process."""
        try:
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        except ProcessLookupError:
            return

    def ended(self, seconds: float | None = 0.0) -> bool:
        """Whether it has ended, waiting up to `seconds` for that; None waits without limit."""
        waiting = select.poll()
        waiting.register(self._handle, select.POLLIN)
        return bool(waiting.poll(None if seconds is None else seconds * 1000))

    def processor_seconds(self) -> float:
        """Processor time that it has used. Raises OSError when it has ended."""
        # clock_getcpuclockid(3): the clock of another process, whose number is its id's complement, shifted
        return time.clock_gettime(~self.pid << 3 | _SCHEDULED)

    def bury(self) -> None:
        """Kills it, waits for its end and closes its descriptors."""
        self.kill()
        self.ended(None)
        for descriptor in (self._handle, self.requests, self.answers):
            os.close(descriptor)


class ForkServer:
    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._closed = False

    def fork(self, memory: int) -> Worker:
        """A new worker that writes its tiles into the file `memory`; a server that has died, or does not answer, is
        replaced first. Raises CannotStart.
        """
        with self._lock:
            if self._control is not None:
                try:
                    return self._ask(self._control, memory)
                except _NoAnswer:
                    if not self._closed:
                        log.warning(
                            "the fork server of the decoding processes does not answer and is replaced"
                        )
                    self._stop()
            return self._ask(self._start(), memory)

    def close(self) -> None:
        """Ends the process, and with it all workers."""
        self._closed = True
        if (process := self._process) is not None:
            process.kill()  # one that is still loading holds the lock
        with self._lock:
            self._stop()

    def _ask(self, control: socket.socket, memory: int) -> Worker:
        try:
            read_requests, requests = os.pipe()
            answers, write_answers = os.pipe()
        except OSError:
            raise CannotStart("this process may open no more files") from None
        try:
            socket.send_fds(control, [b"fork"], [read_requests, write_answers, memory])
            message, (handle,), _, _ = socket.recv_fds(control, 32, 1)
            pid = int(message)
        except (OSError, ValueError):
            os.close(requests)
            os.close(answers)
            raise _NoAnswer("the fork server does not answer") from None
        finally:
            os.close(read_requests)
            os.close(write_answers)
        os.set_blocking(requests, False)
        return Worker(pid, handle, requests, answers)

    def _start(self) -> socket.socket:
        """Returns when the process has loaded its libraries."""
        if self._closed:
            raise CannotStart("the pool is closed")
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        setup = {
            "parent": os.getpid(),
            "control": theirs.fileno(),
            "tile_bytes": self._spec.tile_bytes,
            "max_pixels": self._spec.max_pixels,
            "seconds": self._spec.timeout,
        }
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "service.decode.worker", json.dumps(setup)],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env=_ENVIRONMENT,
                    cwd="/",
                    start_new_session=True,
                )
            self._control.settimeout(self._spec.startup_timeout)
            loaded = self._control.recv(16) == b"ready"
            self._control.settimeout(_FORK_SECONDS)
        except OSError:
            loaded = False
        if not loaded:
            self._stop()
            raise CannotStart("the decoding process did not start")
        return self._control

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._control = self._process = None

"""A decoding process and the conversation with it. Blocking: the pool calls it from threads of its own.

A worker may have been taken over by the image that it decodes, so nothing is taken from it but one word and the tiles
in the shared memory.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import astuple

import numpy as np
from numpy.typing import NDArray

from service.decode.causes import Cause
from service.decode.forkserver import CannotStart, ForkServer, Worker, WorkerSpec
from service.decode.framing import read_message, write_message
from service.domain import ImageBytes, View

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL

Tiles = list[NDArray[np.uint8]]


_LEAST_SHARE = 0.5
"""An image whose time is up took too long if its worker computed for half of that time. A worker that got less was
stopped, or the machine has too much to do."""


class DecodeFailed(Exception):
    """Base of the ways in which an image can fail to be decoded."""


class Refused(DecodeFailed):
    """The decoder does not accept the bytes, or needs more memory for them than is allowed."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause)
        self.cause = cause


class TookTooLong(DecodeFailed):
    """The image took longer than it may; the worker was killed."""


class WorkerLost(Exception):
    """The worker died, or stood still, while it had the image. Which of the two is to blame cannot be told."""


class DecodeProcess:
    """A decoding process that is replaced when it dies: one worker at a time."""

    def __init__(self, spec: WorkerSpec, server: ForkServer) -> None:
        self._spec = spec
        self._server = server
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._memory_file = os.memfd_create("tiles", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self._memory_file, spec.tile_bytes)
        # a worker that was taken over must not shrink the file under our feet
        fcntl.fcntl(self._memory_file, fcntl.F_ADD_SEALS, _SEALS)
        self._memory = np.frombuffer(
            mmap.mmap(self._memory_file, spec.tile_bytes, prot=mmap.PROT_READ), np.uint8
        )

    def start(self) -> Worker:
        """A worker that is alive and ready. Raises CannotStart."""
        if self._worker is not None and not self._worker.ended():
            return self._worker
        self.bury()
        worker = self._server.fork(self._memory_file)
        with self._lock:
            self._worker = worker
        try:
            self._receive(worker, time.monotonic() + self._spec.startup_timeout)
        except (EOFError, OSError, ValueError):
            self.bury()
            raise CannotStart("a new decoding process ended at once") from None
        return worker

    def tiles(self, image: ImageBytes, views: Sequence[View]) -> Tiles:
        """Per view uint8 [n, tile_h, tile_w, 3], in memory of its own.

        Raises CannotStart, WorkerLost or a DecodeFailed.
        """
        worker = self.start()
        began, deadline = _used(worker), time.monotonic() + self._spec.timeout
        request = {
            "width": image.width,
            "height": image.height,
            "views": [astuple(view) for view in views],
        }
        try:
            write_message(worker.requests, request, image.data, deadline=deadline)
            answer = self._receive(worker, deadline)
        except TimeoutError:
            worked = _used(worker) - began
            self.bury()
            if worked < _LEAST_SHARE * self._spec.timeout:
                raise WorkerLost("a decoding process stood still") from None
            raise TookTooLong from None
        except (EOFError, OSError, ValueError):
            self.bury()
            raise WorkerLost("a decoding process died") from None
        if answer != "done":
            raise Refused(Cause(answer) if answer in list(Cause) else Cause.DAMAGED)
        return self._copied(views)

    def kill(self) -> None:
        """Ends the worker, from any thread: the conversation in progress fails, the next one gets a new worker."""
        with self._lock:
            if self._worker is not None:
                self._worker.kill()

    def bury(self) -> None:
        """Ends the worker and waits for its end, so that the next image gets a new one; only while no other thread
        talks to it."""
        with self._lock:
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.bury()

    def close(self) -> None:
        """To be called after the last conversation."""
        self.bury()
        os.close(self._memory_file)

    def _copied(self, views: Sequence[View]) -> Tiles:
        copies, begin = [], 0
        for view in views:
            shape = (view.tiles, view.tile_height, view.tile_width, 3)
            end = begin + view.tiles * view.tile_height * view.tile_width * 3
            copies.append(self._memory[begin:end].reshape(shape).copy())
            begin = end
        return copies

    def _receive(self, worker: Worker, deadline: float) -> str:
        answer, _ = read_message(worker.answers, most_bytes=0, deadline=deadline)
        return str(answer.get("answer"))


def _used(worker: Worker) -> float:
    """Seconds of processor time; none of a worker that has ended."""
    try:
        return worker.processor_seconds()
    except OSError:
        return 0.0

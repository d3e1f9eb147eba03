"""One deadline for many waits: a task enters it for each of them, and there is one timer for all.

`asyncio.timeout_at` makes a timer for every wait, which is most of what passing on one streamed event costs.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Any


class Deadline:
    """A context manager that may be entered again and again, by one task at a time, until it is closed.

    The block that runs at `when` (a time of time.monotonic) is cancelled and raises TimeoutError; so does a block that
    is entered later, as soon as it waits.
    """

    __slots__ = ("_cancelling", "_loop", "_struck", "_task", "_timer", "_until")

    def __init__(self, when: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + when - time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._struck = False

    @property
    def over(self) -> bool:
        return self._loop.time() >= self._until

    def close(self) -> None:
        """Ends its timer. May be called repeatedly."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "only a task can be cancelled"
        self._task, self._cancelling = task, task.cancelling()
        if self._timer is None:
            self._timer = self._loop.call_at(self._until, self._strike)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._struck:
            self._struck = False
            # who else cancelled the task meanwhile wants it cancelled
            if task is not None and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def _strike(self) -> None:
        self._timer = None
        if self._task is not None:
            self._struck = True
            self._task.cancel()

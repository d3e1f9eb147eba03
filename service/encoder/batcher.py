"""Work-conserving batches, packed by cost, on one device thread.

When the device is free, everything that waits runs at once; while it is busy, work accumulates. There is no timer. A
failing batch is split in halves until the item that breaks it fails alone, and the thread survives every failure.
Payloads go to the device thread, futures stay here. Payloads are of any type.

The rules are those of text-embeddings-inference's queue: budget by cost, one batch on the device, departed
callers skipped when popped, health as the result of the last real call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from service.encoder.packing import Entry, Reply, pack
from service.errors import EncoderFailed, PatchbayError

T = TypeVar("T")
R = TypeVar("R")

OnBatch = Callable[[int, int, float, list[float]], None]
"""Called on the device thread after each batch: items, cost, seconds, and the seconds each item waited."""

SMOOTHING = 0.2
"""Weight of the newest batch in the speed."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatcherStats:
    waiting: int
    """Items waiting for the device, including cancelled ones until the next batch is packed."""
    waiting_cost: int
    speed: float
    """Cost per second of the last batches, smoothed; 0 before the first."""
    running: int
    """Items of the batch on the device."""
    batches: int
    """Batches since start; a batch that was split counts once."""
    cancelled: int
    """Items that were skipped because their caller was cancelled."""
    failed: int


class Batcher(Generic[T, R]):
    """Passes items to `run` in batches that cost at most `budget`, one at a time, on a separate thread.

    `run` takes the items of a batch and returns as many values in the same order. `on_start` runs once on the
    device thread before the first batch: the place for settings that belong to a thread.
    """

    def __init__(
        self,
        run: Callable[[list[T]], Sequence[R]],
        *,
        budget: int,
        on_batch: OnBatch | None = None,
        on_start: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if budget < 1:
            raise ValueError(f"budget must be at least 1, got {budget}")
        self.budget = budget
        self._run = run
        self._on_batch = on_batch
        self._on_start = on_start
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: list[Entry[T, R]] = []
        self._closed = False
        self._healthy = True
        self._running: list[Entry[T, R]] = []
        self._batches = self._cancelled = self._failed = 0
        self._speed = 0.0
        self._thread = threading.Thread(target=self._device_task, name="encoder", daemon=True)
        self._thread.start()

    async def submit(self, item: T, cost: int, bucket: Hashable = None) -> Reply[R]:
        """Returns what `run` gave for `item`; cancelling the caller takes the item out of the queue.

        Raises ValueError (the cost is not in 1…budget), EncoderFailed (`run` failed for this item alone, or
        the batcher is closed), or the PatchbayError that `run` raised for it.
        """
        if not 1 <= cost <= self.budget:
            raise ValueError(f"cost must be between 1 and the budget of {self.budget}, got {cost}")
        future: asyncio.Future[Reply[R]] = asyncio.get_running_loop().create_future()
        with self._changed:
            if self._closed:
                raise EncoderFailed("The encoder is shutting down.")
            self._waiting.append(Entry(item, cost, bucket, future, self._clock()))
            self._changed.notify()
        return await future

    @property
    def healthy(self) -> bool:
        """Whether any item of the last batch succeeded; true before the first batch, false once closed."""
        return self._healthy and not self._closed

    def stats(self) -> BatcherStats:
        with self._changed:
            return BatcherStats(
                waiting=len(self._waiting),
                waiting_cost=sum(entry.cost for entry in self._waiting),
                speed=self._speed,
                running=len(self._running),
                batches=self._batches,
                cancelled=self._cancelled,
                failed=self._failed,
            )

    async def close(self, timeout: float = 30.0) -> None:
        """Fails waiting items, lets the running batch finish, and joins the thread within `timeout` seconds."""
        self._refuse_all()
        await asyncio.to_thread(self._thread.join, timeout)
        if self._thread.is_alive():
            logger.error("the device thread did not end within %.0f s", timeout)

    def _device_task(self) -> None:
        try:
            if self._on_start is not None:
                _guarded(self._on_start)
            while self._serve_batch():
                pass
        except BaseException:
            logger.critical("the device thread has ended: nothing will be encoded any more", exc_info=True)
        finally:
            self._refuse_all()  # whatever ended this thread, no caller must wait for it
            for entry in self._running:
                _settle(entry.future, EncoderFailed("The encoder has stopped."))

    def _serve_batch(self) -> bool:
        """Waits for the next batch and runs it; false if the batcher was closed."""
        batch = self._next_batch()
        if not batch:
            return False
        began = self._clock()
        waited = [began - entry.queued for entry in batch]
        self._healthy = self._answer(batch) > 0
        cost, seconds = sum(entry.cost for entry in batch), self._clock() - began
        if seconds > 0:
            self._speed += (SMOOTHING if self._speed else 1.0) * (cost / seconds - self._speed)
        if self._on_batch is not None:
            _guarded(self._on_batch, len(batch), cost, seconds, waited)
        return True

    def _next_batch(self) -> list[Entry[T, R]]:
        with self._changed:
            self._running = []
            while True:
                self._waiting = self._present(self._waiting)
                batch, self._waiting = pack(self._waiting, self.budget)
                if batch or self._closed:
                    self._running = batch
                    self._batches += bool(batch)
                    return batch
                self._changed.wait()

    def _answer(self, entries: list[Entry[T, R]]) -> int:
        """Runs the entries together, or in halves if that fails; returns how many succeeded."""
        if not entries:
            return 0
        began = self._clock()
        outcome = self._attempt([entry.item for entry in entries])
        ended = self._clock()
        if not isinstance(outcome, PatchbayError):
            for entry, value in zip(entries, outcome, strict=True):
                _settle(entry.future, Reply(value, entry.queued, began, ended))
            return len(entries)
        if len(entries) == 1:
            self._failed += 1
            _settle(entries[0].future, outcome)
            return 0
        middle = len(entries) // 2
        return self._answer(self._present(entries[:middle])) + self._answer(self._present(entries[middle:]))

    def _attempt(self, items: list[T]) -> Sequence[R] | PatchbayError:
        try:
            values = self._run(items)
            if len(values) != len(items):
                raise RuntimeError(f"run gave {len(values)} values for {len(items)} items; this is a bug")
            return values
        except BaseException as error:  # a SystemExit from a library must not end this thread silently
            logger.warning(
                "a batch of %d failed%s", len(items), "; it is split" * (len(items) > 1), exc_info=error
            )
            # the traceback's frames keep the tensors of the failed run, whose memory the halves need
            cause = error.with_traceback(None)
        if isinstance(cause, PatchbayError):
            return cause
        failure = EncoderFailed(f"The encoder failed this image ({type(cause).__name__}).")
        failure.__cause__ = cause
        return failure

    def _present(self, entries: list[Entry[T, R]]) -> list[Entry[T, R]]:
        present = [entry for entry in entries if not entry.future.cancelled()]
        self._cancelled += len(entries) - len(present)
        return present

    def _refuse_all(self) -> None:
        with self._changed:
            self._closed = True
            waiting, self._waiting = self._waiting, []
            self._changed.notify()
        for entry in waiting:
            _settle(entry.future, EncoderFailed("The encoder is shutting down."))


def _settle(future: asyncio.Future[Reply[R]], outcome: Reply[R] | PatchbayError) -> None:
    def settle() -> None:
        if future.done():
            return
        if isinstance(outcome, PatchbayError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    with contextlib.suppress(RuntimeError):  # the caller's loop is closed
        future.get_loop().call_soon_threadsafe(settle)


def _guarded(hook: Callable[..., None], *values: object) -> None:
    try:
        hook(*values)
    # whatever it is: hooks set up and count, and no image should fail because of them
    except Exception:
        logger.exception("a hook of the batcher failed")

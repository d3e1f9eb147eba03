"""Devices without a GPU: one that does everything at once, and one that does as little in order as it may."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

import torch

from kernels.runner import TileShape

Call = Callable[[], None]
FORM = TileShape(height=2, width=3, rows=2, row_width=4, dtype=torch.float32)


class Done:
    def wait(self) -> None: ...


class InOrder:
    """Streams that have done a thing when it is given to them."""

    def run(self, call: Call) -> None:
        call()

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        target.copy_(source)

    def wait(self, event: Done) -> None: ...

    def record(self) -> Done:
        return Done()


class Host:
    """Counts what is captured and what is replayed; a replay runs the call again, uncaptured."""

    def __init__(self) -> None:
        self.captured = 0
        self.replayed: list[int] = []
        self.taken: list[tuple[int, ...]] = []

    def stream(self) -> InOrder:
        return InOrder()

    def pinned(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        return poison(torch.empty(shape, dtype=dtype))

    def zeros(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        self.taken.append(shape)
        return torch.zeros(shape, dtype=dtype)

    def capture(self, call: Call) -> Call:
        number, self.captured = self.captured, self.captured + 1
        call()

        def replay() -> None:
            self.replayed.append(number)
            call()

        return replay

    def settle(self) -> None: ...


class LateEvent:
    def __init__(self, device: Late) -> None:
        self.device = device
        self.done = False

    def wait(self) -> None:
        self.device.until(self)


class LateStream:
    def __init__(self, device: Late) -> None:
        self.device = device
        self.queue: deque[Call | LateEvent | tuple[LateEvent]] = deque()
        """A call, an event to wait for, or (in a tuple) one that is reached."""

    def run(self, call: Call) -> None:
        self._give(call)

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        self._give(lambda: target.copy_(source))

    def wait(self, event: LateEvent) -> None:
        if not self.device.deaf:
            self._give(event)

    def record(self) -> LateEvent:
        event = LateEvent(self.device)
        self._give((event,))
        return event

    def step(self) -> bool:
        """Does what is first, if that may be done."""
        if not self.queue:
            return False
        first = self.queue[0]
        if isinstance(first, LateEvent):
            if not first.done:
                return False
        elif isinstance(first, tuple):
            first[0].done = True
        else:
            first()
        self.queue.popleft()
        return True

    def _give(self, item: Call | LateEvent | tuple[LateEvent]) -> None:
        self.queue.append(item)
        self.device.drift()


class Late(Host):
    """Streams run on by chance, each in its own order, and as far as they must when the host waits.

    `deaf` streams wait for nobody: what is right then is right by luck.
    """

    def __init__(self, seed: int, *, deaf: bool = False) -> None:
        super().__init__()
        self.deaf = deaf
        self._random = random.Random(seed)
        self._streams: list[LateStream] = []

    def stream(self) -> LateStream:  # type: ignore[override]
        self._streams.append(LateStream(self))
        return self._streams[-1]

    def drift(self) -> None:
        for _ in range(self._random.randrange(3)):
            self._random.choice(self._streams).step()

    def until(self, event: LateEvent) -> None:
        while not event.done:
            streams = self._random.sample(self._streams, len(self._streams))
            assert any(stream.step() for stream in streams), "nothing can go on: a wait for what never comes"

    def settle(self) -> None:
        while any(stream.step() for stream in self._streams):
            pass


def poison(tensor: torch.Tensor) -> torch.Tensor:
    """What nobody has written must be seen."""
    return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor.fill_(1)


def forward(pixels: torch.Tensor, out: torch.Tensor) -> None:
    """Rows that tell every pixel of their tile, and not finite where the first pixel is 255."""
    flat = pixels.flatten(1).float()  # [tiles, 18]
    weights = torch.arange(1, 19).float()
    total = flat @ weights + 0 * flat[:, 0].where(flat[:, 0] < 255, float("inf"))
    steps = torch.arange(FORM.rows * FORM.row_width).float()
    out.copy_((total[:, None] + steps).view(out.shape))


def tiles(count: int, seed: int = 0) -> torch.Tensor:
    random_ = torch.Generator().manual_seed(seed)
    size = (count, FORM.height, FORM.width, 3)
    return torch.randint(0, 255, size, dtype=torch.uint8, generator=random_)


def expected(pixels: torch.Tensor) -> torch.Tensor:
    rows = torch.empty(len(pixels) * FORM.rows, FORM.row_width)
    forward(pixels, rows)
    return rows

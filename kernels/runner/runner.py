"""A batch of tiles from host memory to rows in host memory, in chunks that overlap.

Three streams: pixels in, compute, rows out. A chunk has a slot of the ring: pinned pixels, pixels and rows on the
device. Per slot three events say who may go on:

    staged     its pixels have arrived      compute waits for it; the host before it fills the pinned pixels again
    computed   its rows are made            the copy out waits for it; the copy in before it overwrites the pixels
    landed     its rows have been copied    compute waits for it before it overwrites the rows

The host waits for `staged` of a slot that comes round again, and at the end for the rows; nothing waits for the whole
device. Used by one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from kernels.runner.device import Call, Device, Event
from kernels.runner.graph_sizes import graph_size_for, split

Forward = Callable[[torch.Tensor, torch.Tensor], None]
"""Called with uint8 [tiles, height, width, 3] and out [tiles · rows, width], both on the device, which it fills.

It must launch the same work whatever the pixels are, ask the host for nothing, and treat every tile by itself."""

SLOTS = 3
"""One that is filled, one that is computed, one that is copied out."""


class CaptureFailed(RuntimeError):
    """The forward could not be run or captured at the start; the message says what the device said."""


@dataclass(frozen=True, slots=True)
class TileShape:
    """What goes in and out, per tile."""

    height: int
    width: int
    rows: int
    row_width: int
    dtype: torch.dtype


@dataclass(frozen=True, slots=True, eq=False)
class HostBatch:
    """A batch's rows, in pinned memory that goes back to its pool when the last view of it is dropped."""

    rows: torch.Tensor
    """[tiles · rows, row_width]"""
    finite: torch.Tensor
    """bool [tiles]: no NaN and no infinity in the tile's rows"""


@dataclass(frozen=True, slots=True, eq=False)
class _Buffers:
    pixels: torch.Tensor
    rows: torch.Tensor
    finite: torch.Tensor

    def first(self, tiles: int, shape: TileShape) -> _Buffers:
        return _Buffers(self.pixels[:tiles], self.rows[: tiles * shape.rows], self.finite[:tiles])


@dataclass(slots=True, eq=False)
class _Slot:
    pinned: torch.Tensor
    device: _Buffers
    staged: Event
    computed: Event
    landed: Event


class Runner:
    """Runs `forward` on batches of any number of tiles, at most `most` at once.

    Chunks of up to `graph_sizes[-1]` tiles replay the CUDA graph of the next larger size, whose further tiles hold what
    was there before; larger chunks run `forward` itself. The first `run` takes the memory and captures: call it at the
    start.
    """

    def __init__(
        self,
        forward: Forward,
        shape: TileShape,
        device: Device,
        *,
        most: int,
        graph_sizes: Sequence[int] = (),
        slots: int = SLOTS,
    ) -> None:
        if most < 1 or slots < 1:
            raise ValueError(f"most and slots must be 1 or more, got {most} and {slots}")
        if list(graph_sizes) != sorted(set(graph_sizes)) or not all(
            1 <= graph_size <= most for graph_size in graph_sizes
        ):
            raise ValueError(f"graph_sizes: got {list(graph_sizes)}, must ascend from 1 to at most {most}")
        self.most = most
        self.graph_sizes = tuple(graph_sizes)
        self._forward = forward
        self._shape = shape
        self._device = device
        self._slot_count = slots
        self._into, self._compute, self._out = device.stream(), device.stream(), device.stream()
        self._ring: list[_Slot] = []
        self._turn = 0
        self._graphs: dict[int, Call] = {}
        self._static: _Buffers | None = None

    @torch.inference_mode()
    def run(self, views: Sequence[torch.Tensor]) -> HostBatch:
        """uint8 [tiles, height, width, 3] on the host, one or more, to the rows of their tiles one after the other.

        Raises ValueError for views of another shape, CaptureFailed in the first call, and what `forward` raises.
        """
        shape = self._shape
        for view in views:
            if view.dtype != torch.uint8 or tuple(view.shape[1:]) != (shape.height, shape.width, 3):
                raise ValueError(
                    f"tiles: got {view.dtype} {list(view.shape)}, must be torch.uint8 "
                    f"[tiles, {shape.height}, {shape.width}, 3]"
                )
        tiles = sum(map(len, views))
        if not tiles:
            raise ValueError("tiles: got none, must be one or more")
        if not self._ring:
            self._prepare()
        return self._run(_pieces(views), tiles)

    def _run(self, pieces: Iterator[torch.Tensor], tiles: int) -> HostBatch:
        shape = self._shape
        landed = HostBatch(
            self._device.pinned(tiles * shape.rows, shape.row_width, dtype=shape.dtype),
            self._device.pinned(tiles, dtype=torch.bool),
        )
        begin = 0
        for size in split(tiles, self.most):
            slot = self._ring[self._turn]
            self._turn = (self._turn + 1) % len(self._ring)
            made = slot.device.first(size, shape)

            slot.staged.wait()
            for tile in range(size):
                slot.pinned[tile].copy_(next(pieces))
            self._into.wait(slot.computed)
            self._into.copy(made.pixels, slot.pinned[:size])
            slot.staged = self._into.record()

            self._compute.wait(slot.staged)
            self._compute.wait(slot.landed)
            self._compute.run(partial(self._launch, made, size))
            slot.computed = self._compute.record()

            self._out.wait(slot.computed)
            end = begin + size
            self._out.copy(landed.rows[begin * shape.rows : end * shape.rows], made.rows)
            self._out.copy(landed.finite[begin:end], made.finite)
            slot.landed = self._out.record()
            begin = end
        slot.landed.wait()
        return landed

    def _launch(self, chunk: _Buffers, tiles: int) -> None:
        """In the compute stream."""
        size = graph_size_for(tiles, self.graph_sizes)
        if size is None or self._static is None:
            self._call(chunk)
            return
        static = self._static.first(tiles, self._shape)
        static.pixels.copy_(chunk.pixels)
        self._graphs[size]()
        chunk.rows.copy_(static.rows)
        chunk.finite.copy_(static.finite)

    def _call(self, chunk: _Buffers) -> None:
        self._forward(chunk.pixels, chunk.rows)
        finite = chunk.rows.isfinite().view(len(chunk.pixels), -1)  # [tiles, rows · row_width]
        torch.all(finite, dim=1, out=chunk.finite)

    def _prepare(self) -> None:
        """Streams, ring and graphs; the largest chunk runs once even where it has none."""
        try:
            static = self._buffers(self.graph_sizes[-1]) if self.graph_sizes else None
            ring = self._slots()
            self._device.settle()  # weights and zeros are there before other streams look
            # the largest first: the others find room in its memory
            for size in reversed(self.graph_sizes):
                assert static is not None
                call = partial(self._call, static.first(size, self._shape))
                self._graphs[size] = self._device.capture(call)
            if graph_size_for(self.most, self.graph_sizes) is None:
                self._compute.run(partial(self._call, ring[0].device))
            self._device.settle()
        except Exception as error:
            self._graphs.clear()
            raise CaptureFailed(_told(error)) from error
        self._static, self._ring = static, ring

    def _buffers(self, tiles: int) -> _Buffers:
        shape = self._shape
        return _Buffers(
            pixels=self._device.zeros(tiles, shape.height, shape.width, 3, dtype=torch.uint8),
            rows=self._device.zeros(tiles * shape.rows, shape.row_width, dtype=shape.dtype),
            finite=self._device.zeros(tiles, dtype=torch.bool),
        )

    def _slots(self) -> list[_Slot]:
        shape = self._shape
        return [
            _Slot(
                pinned=self._device.pinned(self.most, shape.height, shape.width, 3, dtype=torch.uint8),
                device=self._buffers(self.most),
                staged=self._into.record(),
                computed=self._compute.record(),
                landed=self._out.record(),
            )
            for _ in range(self._slot_count)
        ]


def _pieces(views: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Tile by tile: uint8 [height, width, 3]"""
    for view in views:
        yield from view


def _told(error: BaseException) -> str:
    """With what came before it: leaving a capture that failed raises once more, and says only that it failed."""
    told = f"{type(error).__name__}: {error}"
    return told if error.__context__ is None else f"{told}, after {_told(error.__context__)}"

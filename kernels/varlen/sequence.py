"""Images of any sizes as one sequence: the order of their tokens, their positions, and who sees whom.

Qwen2.5-VL (arXiv 2502.13923): patches come in cells of merge × merge, which become one soft token; most layers look
within windows of a few cells on a side, the others within the image. Windows at an image's edge are smaller, nothing
is padded. Here the cells are put in such an order that windows of equal length lie side by side over all images: the
attention of a layer is then one call for each length, of which there are few, and not one for each window.

Arithmetic on the host, from sizes alone; what the device needs of it is sent without waiting.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import torch

from kernels.transfer import send

REMEMBERED = 64
"""Sizes whose tables are kept; those of an image of 16,384 cells take half a megabyte."""


class Grid(NamedTuple):
    """An image's size in cells."""

    rows: int
    columns: int


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """`count` segments of `length` tokens, each of which attends to itself and to no other.

    With other libraries' varlen attention these would be equal steps of `cu_seqlens`.
    """

    count: int
    length: int
    begin: int = 0
    """Where the tokens begin that lie one after the other; without meaning beside `index`."""
    index: torch.Tensor | None = None
    """int64 [count · length], the tokens where they do not lie side by side."""

    @property
    def tokens(self) -> int:
        return self.count * self.length

    @property
    def rows(self) -> slice | torch.Tensor:
        """Where the tokens are: a slice where they lie together."""
        return slice(self.begin, self.begin + self.tokens) if self.index is None else self.index

    @property
    def where(self) -> torch.Tensor:
        """int64 [count · length], on the device of the index, or on the host."""
        return torch.arange(self.begin, self.begin + self.tokens) if self.index is None else self.index

    def part(self, first: int, count: int) -> Segments:
        """`count` of the segments, from number `first` on."""
        begin, end = first * self.length, (first + count) * self.length
        return Segments(
            count, self.length, self.begin + begin, None if self.index is None else self.index[begin:end]
        )


@dataclass(frozen=True, slots=True, eq=False)
class PackedSequence:
    """Made by `pack`."""

    order: torch.Tensor
    """int64 [cells] on the host: which of the cells as they were given, image by image and row by row, comes here."""
    positions: torch.Tensor
    """int64 [tokens, 2]: row and column of each patch in its image. In fp64 where one turns slower than the other."""
    sizes: torch.Tensor
    """int64 [tokens, 2]: rows and columns of patches that each one's image has."""
    windows: tuple[Segments, ...]
    images: tuple[Segments, ...]

    @property
    def tokens(self) -> int:
        return len(self.positions)


def pack(
    grids: Sequence[Grid], *, merge: int = 2, window: int | None = None, device: torch.device | str = "cpu"
) -> PackedSequence:
    """The sequence of images of these grids; indices and positions on `device`.

    Args:
        grids: in cells, in the order in which the images' cells are given.
        merge: patches on a side of a cell.
        window: cells on a side of a window; None where every layer sees the whole image.

    Raises:
        ValueError: no image, or a size below one.
    """
    if not grids or min(chain(*grids)) < 1 or merge < 1 or (window is not None and window < 1):
        raise ValueError(
            f"grids: got {[tuple(grid) for grid in grids]} with merge {merge} and windows of {window}, must be one "
            "image or more, all sizes 1 or more"
        )
    order, windows = _by_windows(grids, window)
    tokens = merge * merge
    lengths = torch.tensor([grid.rows * grid.columns for grid in grids])
    sizes = merge * torch.tensor(grids).repeat_interleave(lengths, 0)[order]  # [cells, 2]
    within = _corners(Grid(merge, merge))
    positions = (
        merge * torch.cat([_corners(grid) for grid in grids])[order][:, None] + within
    )  # [cells, tokens of a cell, 2]
    return PackedSequence(
        order,
        send(positions.flatten(0, 1), device),
        send(sizes.repeat_interleave(tokens, 0), device),
        tuple(_groups(windows, tokens)),
        tuple(_images(grids, order, tokens, device)),
    )


@lru_cache(maxsize=REMEMBERED)
def _corners(grid: Grid) -> torch.Tensor:
    """int64 [cells, 2], row and column of each cell, row by row."""
    return torch.stack(
        torch.meshgrid(torch.arange(grid.rows), torch.arange(grid.columns), indexing="ij"), -1
    ).view(-1, 2)


@lru_cache(maxsize=REMEMBERED)
def _windows(grid: Grid, window: int | None) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Of each cell its window's number and size in cells, both int64 [cells]; and how many windows there are."""
    side = window or max(grid)
    at = _corners(grid) // side  # [cells, 2], the window's row and column
    down, across = -(-grid.rows // side), -(-grid.columns // side)
    size = (torch.tensor(grid) - at * side).clamp(max=side).prod(-1)
    return at[:, 0] * across + at[:, 1], size, down * across


def _by_windows(grids: Sequence[Grid], window: int | None) -> tuple[torch.Tensor, list[tuple[int, int]]]:
    """The order of the cells, and (cells, how many) of the windows that lie side by side in it, largest first."""
    numbers, sizes, count = [], [], 0
    for grid in grids:
        number, size_of, windows = _windows(grid, window)
        numbers.append(number + count)
        sizes.append(size_of)
        count += windows
    size = torch.cat(sizes)
    # stable: within a window the cells stay row by row
    order = torch.argsort((size.max() - size) * count + torch.cat(numbers), stable=True)
    lengths, cells = torch.unique_consecutive(size[order], return_counts=True)
    return order, list(zip(lengths.tolist(), (cells // lengths).tolist(), strict=True))


def _groups(windows: Iterable[tuple[int, int]], tokens: int) -> Iterator[Segments]:
    """Groups side by side, of windows in cells of so many tokens."""
    begin = 0
    for cells, count in windows:
        yield Segments(count, cells * tokens, begin)
        begin += count * cells * tokens


def _images(
    grids: Sequence[Grid], order: torch.Tensor, tokens: int, device: torch.device | str
) -> Iterator[Segments]:
    """Images of equal length; their cells lie apart where windows of others are between them."""
    lengths = [grid.rows * grid.columns for grid in grids]
    of_image = torch.repeat_interleave(torch.arange(len(grids)), torch.tensor(lengths))[order]
    places = torch.split(of_image.argsort(stable=True), lengths)
    of_length: dict[int, list[torch.Tensor]] = {}
    for length, place in zip(lengths, places, strict=True):
        of_length.setdefault(length, []).append(place)
    for length, those in of_length.items():
        cells = torch.cat(those)
        index = (cells[:, None] * tokens + torch.arange(tokens)).flatten()
        count, begin = len(those), int(index[0])
        if torch.equal(index, torch.arange(begin, begin + len(index))):
            yield Segments(count, length * tokens, begin)
        else:
            yield Segments(count, length * tokens, index=send(index, device))

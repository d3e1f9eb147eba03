"""Images of any sizes as one sequence: the order of their tokens, their positions, and who sees whom.

Qwen2.5-VL (arXiv 2502.13923): patches come in cells of merge × merge, which become one soft token; most layers look
within windows of a few cells on a side, the others within the image. Windows at an image's edge are smaller, nothing
is padded. Here the cells are put in such an order that windows of equal length lie side by side over all images: the
attention of a layer is then one call for each length, of which there are few, and not one for each window.

Arithmetic on the host, from sizes alone. Knows nothing of weights.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Sequence as Listed
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import NamedTuple

import torch


class Grid(NamedTuple):
    """An image's size in cells."""

    rows: int
    columns: int


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """`count` pieces of `length` tokens, each of which sees itself and no other."""

    count: int
    length: int
    begin: int = 0
    """Where the tokens begin that lie one after the other; without meaning beside `index`."""
    index: torch.Tensor | None = None
    """int64 [count · length], the tokens where they lie apart."""

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

    def part(self, first: int, count: int) -> Group:
        """`count` of the pieces, from number `first` on."""
        begin, end = first * self.length, (first + count) * self.length
        return Group(
            count, self.length, self.begin + begin, None if self.index is None else self.index[begin:end]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """Made by `arrange`."""

    order: torch.Tensor
    """int64 [cells] on the host: which of the cells as they were given, image by image and row by row, comes here."""
    positions: torch.Tensor
    """int64 [tokens, 2]: row and column of each patch in its image."""
    windows: tuple[Group, ...]
    images: tuple[Group, ...]

    @property
    def tokens(self) -> int:
        return len(self.positions)


def arrange(
    grids: Listed[Grid], *, merge: int = 2, window: int | None = None, device: torch.device | str = "cpu"
) -> Sequence:
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
    begins = [0, *accumulate(grid.rows * grid.columns for grid in grids)]
    pieces = list(chain.from_iterable(map(_pieces, grids, begins, [window] * len(grids))))
    pieces.sort(key=len, reverse=True)  # stable: an image's windows stay in their order
    order = torch.cat(pieces)
    cell, patches = merge * merge, torch.arange(merge * merge)
    windows, begin = [], 0
    for length, count in _counted(map(len, pieces)):
        windows.append(Group(count, length * cell, begin * cell))
        begin += length * count
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    images = []
    of_length = defaultdict(list)
    for number, length in enumerate(grid.rows * grid.columns for grid in grids):
        of_length[length].append(number)
    for length, numbers in of_length.items():
        cells = torch.cat([place[begins[number] : begins[number + 1]].sort().values for number in numbers])
        tokens = (cells[:, None] * cell + patches).flatten()
        begin = int(tokens[0])
        together = bool((tokens == torch.arange(begin, begin + len(tokens))).all())
        count = len(numbers)
        images.append(
            Group(count, length * cell, begin)
            if together
            else Group(count, length * cell, index=tokens.to(device))
        )
    return Sequence(order, _positions(grids, order, merge).to(device), tuple(windows), tuple(images))


def _pieces(grid: Grid, begin: int, window: int | None) -> list[torch.Tensor]:
    """The cells of each window of an image whose cells begin with number `begin`."""
    cells = torch.arange(begin, begin + grid.rows * grid.columns).view(grid)
    if window is None:
        return [cells.flatten()]
    return [piece.flatten() for rows in torch.split(cells, window) for piece in torch.split(rows, window, 1)]


def _counted(lengths: Iterable[int]) -> list[tuple[int, int]]:
    """(length, how many) of what lies side by side in descending order."""
    counts: dict[int, int] = defaultdict(int)
    for length in lengths:
        counts[length] += 1
    return list(counts.items())


def _positions(grids: Listed[Grid], order: torch.Tensor, merge: int) -> torch.Tensor:
    """[tokens, 2] in the order of the sequence."""
    corners = torch.cat([torch.cartesian_prod(torch.arange(g.rows), torch.arange(g.columns)) for g in grids])
    within = torch.cartesian_prod(torch.arange(merge), torch.arange(merge))
    return (merge * corners.view(-1, 2)[order][:, None] + within.view(-1, 2)).view(-1, 2)

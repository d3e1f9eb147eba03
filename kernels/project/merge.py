"""Which patches of a tile lie side by side in one row of the projector's input: arithmetic, no tensors.

InternVL's pixel shuffle takes `factor` × `factor` neighbours of a square grid (arXiv 2404.16821, transformers'
`InternVLModel.pixel_shuffle`); Qwen2-VL's merger takes factor² patches that its tower already keeps one after the
other (arXiv 2409.12191). Both are an index: row and part → patch, and the way from a row's first patch to its
others is the same for every row.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Literal, get_args

Order = Literal["square", "given"]


@dataclass(frozen=True, slots=True)
class Merge:
    """factor² patches make a row; `Merge()` leaves every patch a row of its own.

    Raises:
        ValueError: a factor below 1, or an order that there is not.
    """

    factor: int = 1
    order: Order = "square"
    """square: neighbours in a square grid that is stored line by line. given: patches that already follow
    each other."""

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise ValueError(f"factor: got {self.factor}, must be 1 or more")
        if self.order not in get_args(Order):
            raise ValueError(
                f"order: got {self.order!r}, allowed are {', '.join(map(repr, get_args(Order)))}"
            )

    @property
    def parts(self) -> int:
        """Patches in one row."""
        return self.factor**2

    @property
    def shuffles(self) -> bool:
        """Whether the patches of a row lie apart."""
        return self.order == "square" and self.factor > 1

    def side(self, patches: int) -> int:
        """Patches along one side of the grid; 0 where the grid does not matter."""
        return isqrt(patches) if self.shuffles else 0

    def rows(self, patches: int) -> int:
        """How many rows a tile of that many patches becomes.

        Raises:
            ValueError: not a square grid whose side the factor divides, or not a multiple of factor².
        """
        side = self.side(patches)
        if self.shuffles and (side * side != patches or side % self.factor):
            raise ValueError(
                f"hidden: got {patches} patches in a tile, must be a square grid whose side is a multiple of "
                f"{self.factor}"
            )
        if patches % self.parts:
            raise ValueError(
                f"hidden: got {patches} patches in a tile, must be a multiple of {self.parts}, the patches of a row"
            )
        return patches // self.parts

    def patch(self, row: int, part: int, patches: int) -> int:
        """The patch that is the `part`-th of that row."""
        if not self.shuffles:
            return row * self.parts + part
        side, coarse = self.side(patches), self.side(patches) // self.factor
        first = row // coarse * self.factor * side + row % coarse * self.factor
        return first + part // self.factor * side + part % self.factor

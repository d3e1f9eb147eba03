"""LLaVA-NeXT's any resolution: which canvas an image is laid on, where, and which of its patches are kept.

Canvases are (width, height) in pixels. The rules are transformers' `select_best_resolution`, `get_patch_output_size`,
LlavaNextImageProcessor's padding and `unpad_image`, and tests hold the two equal. Arithmetic only.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import ceil

Size = tuple[int, int]


def best_canvas(width: int, height: int, canvases: Sequence[Size]) -> Size:
    """The one on which most of the image's pixels show; of equal ones that with the least waste, then the first."""
    best, most, least_waste = canvases[0], -1, 0
    for canvas in canvases:
        scale = min(canvas[0] / width, canvas[1] / height)
        shown = min(int(width * scale) * int(height * scale), width * height)
        waste = canvas[0] * canvas[1] - shown
        if shown > most or (shown == most and waste < least_waste):
            best, most, least_waste = canvas, shown, waste
    return best


def fitted(width: int, height: int, canvas: Size) -> Size:
    """(width, height) of the image on the canvas: one side fills it."""
    across, down = canvas[0] / width, canvas[1] / height
    if across < down:
        return canvas[0], min(ceil(height * across), canvas[1])
    return min(ceil(width * down), canvas[0]), canvas[1]


def kept(width: int, height: int, columns: int, rows: int) -> tuple[range, range]:
    """The (columns, rows) of patches of a canvas that are not padding, in the rounding of `unpad_image`."""
    if width / height > columns / rows:
        bare = (rows - int(round(height * (columns / width), 7))) // 2
        return range(columns), range(bare, rows - bare)
    bare = (columns - int(round(width * (rows / height), 7))) // 2
    return range(bare, columns - bare), range(rows)


def lines(columns: range, rows: range, tiles_across: int, side: int, first: int, newline: int) -> array[int]:
    """Row numbers of the patches in `columns` and `rows`, line by line, with `newline` behind each line.

    Tiles of `side` × `side` patches follow one another row by row from number `first` on, `tiles_across` in a row.
    """
    numbers = array("q")
    for row in rows:
        of_row = first + (row // side) * tiles_across * side * side + (row % side) * side
        for tile in range(columns.start // side, (columns.stop - 1) // side + 1):
            begin, end = max(columns.start - tile * side, 0), min(columns.stop - tile * side, side)
            start = of_row + tile * side * side
            numbers.extend(range(start + begin, start + end))
        numbers.append(newline)
    return numbers

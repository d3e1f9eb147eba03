"""Whether raw rows contain only numbers that a model can process. numpy has no bfloat16, so bits are compared.

For IEEE 754 formats, magnitudes order as their bits do without the sign; infinities and NaNs come last.
"""

from __future__ import annotations

import numpy as np

from service.arena.layout import Bytes

# float32's bits for the largest finite number of each format
_LARGEST = {"float32": 0x7F7F_FFFF, "bfloat16": 0x7F7F_0000, "float16": 0x477F_E000}


def representable(rows: Bytes, dtype: str, target: str) -> bool:
    """True when every number in `rows` (raw `dtype`) is finite and stays finite as `target`.

    Both are one of float32, bfloat16, float16.
    """
    largest = _LARGEST[target]
    match dtype:
        case "float32":
            return int((rows.view("<u4") & np.uint32(0x7FFF_FFFF)).max()) <= largest
        case "bfloat16":
            return int((rows.view("<u2") & np.uint16(0x7FFF)).max()) <= largest >> 16
        case "float16":  # its largest finite number fits every format
            return int((rows.view("<u2") & np.uint16(0x7FFF)).max()) <= 0x7BFF
    raise ValueError(f"dtype is {dtype!r}; allowed are {', '.join(_LARGEST)}")

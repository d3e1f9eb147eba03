"""The garbage collector and what is loaded once."""

from __future__ import annotations

import gc


def settle_heap() -> None:
    """Takes all that has been loaded (PyTorch, transformers, the models) out of the garbage collector's later rounds.

    A full round over these hundreds of thousands of objects stops every request for a tenth of a second and more.
    """
    gc.collect()
    gc.freeze()

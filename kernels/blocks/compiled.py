"""A tower's own layers through `torch.compile`, layer by layer: one compilation serves all of them.

For devices where it was measured to be faster; `choice.py` never chooses it by itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


def compile_layers(layers: Iterable[nn.Module], backend: str = "inductor") -> nn.Sequential:
    """The layers, one after the other; compiled in the first call, for one image and for any number of them."""
    layers = list(layers)
    for layer in layers:
        layer.compile(dynamic=True, backend=backend)
    return nn.Sequential(*layers)

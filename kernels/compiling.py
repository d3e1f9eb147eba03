"""`torch.compile` for benchmarks: each case is compiled anew, and what would run eagerly in its place is an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R], backend: str = "inductor") -> Callable[P, R]:
    """The function as one graph for the shapes of its first call; compiled in that call.

    Dynamo counts compilations by code object, and after `recompile_limit` of them (8) warns once and runs the rest
    eagerly: a table would then show the eager chain twice. So what was compiled for other cases is forgotten here, and
    a graph that is not whole, or one compilation too many, raises.
    """
    torch.compiler.reset()
    whole: Any = torch.compile(function, dynamic=False, fullgraph=True, backend=backend)
    call: Callable[P, R] = whole
    return call

"""A benchmark's cases are compiled one by one; where one would run eagerly instead, that is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch._dynamo.exc import FailOnRecompileLimitHit
from torch._dynamo.utils import counters

from kernels.compiling import compiled


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def case(size: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """A new closure of one code object, as each case of a benchmark has it."""
    return lambda x: x * size + 1


def test_any_number_of_cases_is_compiled() -> None:
    for size in range(1, 21):
        assert compiled(case(size), backend="eager")(torch.ones(size)).sum() == size * (size + 1)
    assert counters["stats"]["unique_graphs"] == 20


def test_a_case_that_would_run_eagerly_is_an_error() -> None:
    whole = compiled(case(2), backend="eager")
    with pytest.raises(FailOnRecompileLimitHit):
        for size in range(1, 21):
            whole(torch.ones(size))


def test_a_graph_that_is_not_whole_is_an_error() -> None:
    def broken(x: torch.Tensor) -> torch.Tensor:
        print(x.sum().item())
        return x + 1

    with pytest.raises(torch._dynamo.exc.Unsupported):
        compiled(broken, backend="eager")(torch.ones(1))

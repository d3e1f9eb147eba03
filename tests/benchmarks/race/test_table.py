"""The table gives medians with their spread, and Patchbay's figures over each peer's."""

from __future__ import annotations

import dataclasses
import math

from benchmarks.race.table import Turn, table


def _turn(server: str, number: int, rate: float, p50: float, equal: float = 1.0) -> Turn:
    return Turn("shape", "unique", server, number, 9, rate, p50, 2 * p50, equal)


def test_ratios_are_of_medians_and_ours_over_theirs() -> None:
    ours = [_turn("patchbay", n, rate, 100) for n, rate in enumerate((1.0, 3.0, 2.0))]
    theirs = [_turn("vllm, tuned", n, 4.0, 200, equal=0.5) for n in range(3)]
    _, _, first, second = table([*ours, *theirs]).splitlines()
    assert first == "| unique | patchbay | 2.00 (1.00–3.00) | 100 (100–100) | 200 (200–200) | – | – | – | – |"
    assert second.endswith(
        "| 4.00 (4.00–4.00) | 200 (200–200) | 400 (400–400) | 0.50 × | 0.50 × | 0.50 × | 50% |"
    )


def test_a_server_that_answered_nothing_has_no_figures_and_no_ratios() -> None:
    nothing = dataclasses.replace(_turn("vllm, tuned", 1, 0.0, math.inf), requests=0)
    lines = table([_turn("patchbay", 1, 1.0, 100), nothing]).splitlines()
    assert lines[-1] == "| unique | vllm, tuned | none finished | – | – | – | – | – | – |"

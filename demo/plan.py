"""How long a training run is and how fast it learns: its stages in steps, and the rate at each step."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast; every figure is a flag of the command."""

    seed: int
    see_steps: int
    lookup_steps: int
    listen_steps: int
    speak_steps: int
    polish_steps: int
    grounds_steps: int
    rate: float
    see_batch: int
    pictures: int
    numbers: int
    tiles: int
    cell_weight: float
    small_share: float
    pages: float
    pairs: int
    ground_share: float
    workers: int

    @property
    def steps(self) -> int:
        """Of all stages."""
        return self.grounds_from + self.grounds_steps

    @property
    def polish_from(self) -> int:
        """The first step of the fourth stage."""
        return self.see_steps + self.lookup_steps + self.listen_steps + self.speak_steps

    @property
    def grounds_from(self) -> int:
        """The first step of the last stage."""
        return self.polish_from + self.polish_steps


def learning_rate(plan: Plan, step: int) -> float:
    """Two waves, one for seeing and one for the rest: warm-up, a plateau to the middle, a cosine to a thirtieth.

    Then a low one for the polish, from a half to a hundredth, and one for the grounds, which falls from its middle on.
    """
    if step >= plan.grounds_from:
        at = step - plan.grounds_from
        done = max(0.0, 2 * at / plan.grounds_steps - 1)
        return plan.rate * min(1.0, (at + 1) / 20) * (0.255 + 0.245 * math.cos(math.pi * done))
    if step >= plan.polish_from:
        at = step - plan.polish_from
        return (
            plan.rate * min(1.0, (at + 1) / 50) * (0.255 + 0.245 * math.cos(math.pi * at / plan.polish_steps))
        )
    seeing = step < plan.see_steps
    at = step if seeing else step - plan.see_steps
    length = plan.see_steps if seeing else plan.polish_from - plan.see_steps
    warm = min(1.0, (at + 1) / 100)
    done = max(0.0, 2 * at / length - 1)
    return plan.rate * warm * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * done)))

"""What holds of a family at length, on an engine that encodes nothing: two dozen requests, eight clients at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.e2e.comparison import Case, Told, body, by_transformers, gather, told
from tests.e2e.server import Server

REQUESTS = 24
CLIENTS, EACH = 8, 100
NEAR_TIE = 0.02
"""Two tokens whose log probabilities are no further apart may change places with the order of a sum."""


def near_ties(ours: Sequence[Told], theirs: Sequence[Told]) -> list[float]:
    """How far apart the log probabilities are where answers part; those that differ otherwise are errors."""
    pairs = [(one, other) for one, other in zip(ours, theirs, strict=True) if not one.same(other)]
    gaps = [one.parting(other) for one, other in pairs]
    print(f"{len(ours) - len(gaps)} of {len(ours)} answers are equal; the others part at gaps of {gaps}")
    assert max(gaps, default=0.0) < NEAR_TIE
    return gaps


def answers_are_transformers(server: Server, checkpoint: Path, cases: Sequence[Case], **asked: Any) -> None:
    """All but two at most, which part at a near tie. `asked`: how transformers is, see `by_transformers`."""
    answers = [told(answer) for answer in gather(server, [body(images) for images in cases], 6)]
    assert len(near_ties(answers, by_transformers(checkpoint, cases, **asked))) <= 2


def as_if_alone(server: Server, cases: Sequence[Case]) -> None:
    """`CLIENTS` at once get the answers that each case gets by itself, and nothing is held when they are done."""
    rng = np.random.default_rng(5)
    details = ("low", "high", "auto")
    bodies = [body(images, details[rng.integers(3)]) for images in cases]
    alone = [told(answer) for answer in gather(server, bodies, 1)]
    order = [int(number) for number in rng.integers(0, len(bodies), CLIENTS * EACH)]
    together = [told(answer) for answer in gather(server, [bodies[number] for number in order], CLIENTS)]
    assert len(near_ties(together, [alone[number] for number in order])) <= len(order) // 20
    assert server.metric("patchbay_engine_restarts_total") == 0
    assert server.metric("patchbay_inflight") == 0
    assert server.metric("patchbay_visual_tokens_reserved") == 0

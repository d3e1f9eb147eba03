"""Families at length, on engines that encode nothing: two dozen requests, eight clients at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.e2e import test_blip2, test_gemma3
from tests.e2e.comparison import (
    BFLOAT16_TOLERANCE,
    TOLERANCE,
    Told,
    body,
    by_transformers,
    draw_cases,
    gather,
    one_by_one,
    told,
)
from tests.e2e.server import Server, serving
from tests.service.checkpoints import CHECKPOINTS

pytestmark = pytest.mark.families

REQUESTS = 24
CLIENTS, EACH = 8, 100
NEAR_TIE = 0.02
"""Two tokens whose log probabilities are no further apart may change places with the order of a sum."""


@dataclass(frozen=True)
class Candidate:
    asked: Mapping[str, Any] = field(default_factory=dict)
    """How transformers is asked, see `by_transformers`."""
    images: tuple[int, int] = (0, 3)
    """The fewest and the most of a request."""
    tolerance: float = TOLERANCE
    near_tie: float = NEAR_TIE
    ties: int = 2
    """How many of two dozen answers may part from transformers', at near ties."""

    def cases(self, requests: int, seed: int, longest: int = 700) -> list[list[Image.Image]]:
        fewest, most = self.images
        drawn = (images[:most] for images in draw_cases(2 * requests, seed, longest))
        return [images for images in drawn if len(images) >= fewest][:requests]


IN_BFLOAT16 = Candidate(tolerance=BFLOAT16_TOLERANCE, near_tie=0.05, ties=8)
"""Of an engine that has no other number format: every logit is rounded to one part in 256."""
CANDIDATES = {
    "blip-2": Candidate({"prepare": test_blip2.inputs}, (1, 1)),
    "gemma3": Candidate({"without": test_gemma3.CAUSAL}),
    "gemma4": Candidate(),
    "glm4v": Candidate(),
    "idefics2": Candidate(),
    "idefics3": Candidate(),
    "llava+pixtral": Candidate(),
    "llava_onevision": Candidate({"prepare": one_by_one}),
    "mistral3": Candidate(),
    "qwen2_vl": Candidate(),
    "qwen3_5": IN_BFLOAT16,
    "qwen3_5_moe": IN_BFLOAT16,
    "qwen3_vl": Candidate(),
}
"""By the family's name in the registry."""


@pytest.fixture(scope="module", params=CANDIDATES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def candidate(family: str) -> Candidate:
    return CANDIDATES[family]


@pytest.fixture(scope="module")
def checkpoint(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("family") / "tiny"
    folder.mkdir()
    CHECKPOINTS[family](folder)
    return folder


@pytest.fixture(scope="module")
def server(checkpoint: Path) -> Iterator[Server]:
    with serving(checkpoint.parent / "log", str(checkpoint), "--images", "handles") as server:
        yield server


def near_ties(ours: Sequence[Told], theirs: Sequence[Told], candidate: Candidate) -> list[float]:
    """How far apart the log probabilities are where answers part; those that differ otherwise are errors."""
    within = candidate.tolerance
    pairs = [(one, other) for one, other in zip(ours, theirs, strict=True) if not one.same(other, within)]
    gaps = [one.parting(other, within) for one, other in pairs]
    print(f"{len(ours) - len(gaps)} of {len(ours)} answers are equal; the others part at gaps of {gaps}")
    assert max(gaps, default=0.0) < candidate.near_tie
    return gaps


def test_two_dozen_answers_are_transformers(server: Server, candidate: Candidate, checkpoint: Path) -> None:
    cases = candidate.cases(REQUESTS, seed=11)
    answers = [told(answer) for answer in gather(server, [body(images) for images in cases], 6)]
    expected = by_transformers(checkpoint, cases, **candidate.asked)
    assert len(near_ties(answers, expected, candidate)) <= candidate.ties


def test_eight_clients_are_answered_as_if_each_were_alone(server: Server, candidate: Candidate) -> None:
    rng = np.random.default_rng(5)
    details = ("low", "high", "auto")
    bodies = [body(images, details[rng.integers(3)]) for images in candidate.cases(40, seed=8, longest=900)]
    alone = [told(answer) for answer in gather(server, bodies, 1)]
    order = [int(number) for number in rng.integers(0, len(bodies), CLIENTS * EACH)]
    together = [told(answer) for answer in gather(server, [bodies[number] for number in order], CLIENTS)]
    expected = [alone[number] for number in order]
    assert len(near_ties(together, expected, candidate)) <= len(order) // 20
    assert server.metric("patchbay_engine_restarts_total") == 0
    assert server.metric("patchbay_inflight") == 0
    assert server.metric("patchbay_visual_tokens_reserved") == 0

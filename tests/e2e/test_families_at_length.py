"""Families at length, on engines that encode nothing: two dozen requests, eight clients at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import LightOnOcrForConditionalGeneration

from tests.e2e import test_blip2, test_gemma3, test_paligemma
from tests.e2e.comparison import (
    BFLOAT16_TOLERANCE,
    TOLERANCE,
    Told,
    body,
    both_ways,
    by_transformers,
    draw_cases,
    gather,
    one_by_one,
    told,
)
from tests.e2e.server import Server, serving
from tests.service import tiny_paddleocr_vl
from tests.service.checkpoints import CHECKPOINTS
from tests.service.families.figures import Tell

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
    has_tower: bool = True
    """Whether the engine can encode images too."""

    def cases(self, requests: int, seed: int, longest: int = 700) -> list[list[Image.Image]]:
        fewest, most = self.images
        drawn = (images[:most] for images in draw_cases(2 * requests, seed, longest))
        return [images for images in drawn if len(images) >= fewest][:requests]


IN_BFLOAT16 = Candidate(tolerance=BFLOAT16_TOLERANCE, near_tie=0.05, ties=8)
"""Of an engine that has no other number format: every logit is rounded to one part in 256."""
PALIGEMMA = {"prepare": test_paligemma.inputs, "without": test_paligemma.CAUSAL, "attention": "eager"}
CANDIDATES = dict.fromkeys(CHECKPOINTS, Candidate()) | {
    "blip-2": Candidate({"prepare": test_blip2.inputs}, (1, 1)),
    "gemma3": Candidate({"without": test_gemma3.CAUSAL}),
    "idefics2": Candidate(has_tower=False),  # vLLM has its language model alone
    "lighton_ocr": Candidate(has_tower=False),  # the same, of what transformers saves
    "llava_onevision": Candidate({"prepare": one_by_one}),
    "mistral3+qwen3": Candidate({"kind": LightOnOcrForConditionalGeneration}),
    "paddleocr_vl": Candidate({"change": tiny_paddleocr_vl.trained}),
    "paligemma": Candidate(PALIGEMMA, (0, 1)),
    "qwen3_5": IN_BFLOAT16,
    "qwen3_5_moe": IN_BFLOAT16,
    "smolvlm": Candidate(has_tower=False),  # vLLM's class needs a package for numbers in words
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
def ways(checkpoint: Path, candidate: Candidate) -> Iterator[Mapping[str, Server]]:
    """Patchbays by who encodes: itself, or where it can the engine's tower."""
    if candidate.has_tower:
        with both_ways(checkpoint.parent, checkpoint) as (handles, passthrough):
            yield {"handles": handles, "tower": passthrough}
    else:
        with serving(checkpoint.parent / "log", str(checkpoint), "--images", "handles") as handles:
            yield {"handles": handles}


def near_ties(ours: Sequence[Told], theirs: Sequence[Told], candidate: Candidate) -> list[float]:
    """How far apart the log probabilities are where answers part; those that differ otherwise are errors."""
    within = candidate.tolerance
    pairs = [(one, other) for one, other in zip(ours, theirs, strict=True) if not one.same(other, within)]
    gaps = [one.parting(other, within) for one, other in pairs]
    assert max(gaps, default=0.0) < candidate.near_tie
    return gaps


def share(answers: int, gaps: Sequence[float]) -> str:
    """How many answers are equal, and at what the others part."""
    parting = f", others part at near ties of up to {max(gaps):.3f}" if gaps else ""
    return f"{answers - len(gaps)} of {answers}{parting}"


def test_two_dozen_answers_are_transformers(
    ways: Mapping[str, Server], family: str, candidate: Candidate, checkpoint: Path, tell: Tell
) -> None:
    cases = candidate.cases(REQUESTS, seed=11)
    expected = by_transformers(checkpoint, cases, **candidate.asked)
    for level, (way, server) in enumerate(ways.items()):
        # other files of the same pixels, so that the engine has cached nothing of them
        bodies = [body(images, level=level) for images in cases]
        gaps = near_ties([told(answer) for answer in gather(server, bodies, 6)], expected, candidate)
        tell(family, way, share(REQUESTS, gaps))
        assert len(gaps) <= candidate.ties
    if not candidate.has_tower:
        tell(family, "tower", "it has none")


def test_eight_clients_are_answered_as_if_each_were_alone(
    ways: Mapping[str, Server], family: str, candidate: Candidate, tell: Tell
) -> None:
    server = ways["handles"]
    rng = np.random.default_rng(5)
    details = ("low", "high", "auto")
    bodies = [body(images, details[rng.integers(3)]) for images in candidate.cases(40, seed=8, longest=900)]
    alone = [told(answer) for answer in gather(server, bodies, 1)]
    order = [int(number) for number in rng.integers(0, len(bodies), CLIENTS * EACH)]
    together = [told(answer) for answer in gather(server, [bodies[number] for number in order], CLIENTS)]
    gaps = near_ties(together, [alone[number] for number in order], candidate)
    tell(family, "load", share(len(order), gaps))
    assert len(gaps) <= len(order) // 20
    assert server.metric("patchbay_engine_restarts_total") == 0
    assert server.metric("patchbay_inflight") == 0
    assert server.metric("patchbay_visual_tokens_reserved") == 0

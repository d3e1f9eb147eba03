"""Families of packed towers at length, on engines that encode nothing: two dozen requests, eight clients at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.comparison import Told, body, by_transformers, draw_cases, gather, told
from tests.e2e.server import Server, serving
from tests.service import tiny_gemma4, tiny_glm4v, tiny_pixtral, tiny_qwen2_vl, tiny_qwen3_vl

pytestmark = pytest.mark.families

WRITE: dict[str, Callable[[Path], object]] = {
    "gemma4": tiny_gemma4.write_checkpoint,
    "mistral3": partial(tiny_pixtral.write_checkpoint, edge=616),
    "pixtral": partial(tiny_pixtral.write_checkpoint, merges=False, edge=320),
    "glm4v": partial(tiny_glm4v.write_checkpoint, max_pixels=600 * tiny_glm4v.CELL**2),
    "qwen2_vl": partial(
        tiny_qwen2_vl.write_checkpoint, tokenizer=True, max_pixels=600 * tiny_qwen2_vl.CELL**2
    ),
    "qwen3_vl": partial(
        tiny_qwen3_vl.write_checkpoint, tokenizer=True, max_pixels=600 * tiny_qwen3_vl.CELL**2
    ),
}
REQUESTS = 24
CLIENTS, EACH = 8, 100
NEAR_TIE = 0.02
"""Two tokens whose log probabilities are no further apart may change places with the order of a sum."""


@pytest.fixture(scope="module", params=WRITE)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / str(request.param)
    folder.mkdir()
    WRITE[request.param](folder)
    return folder


@pytest.fixture(scope="module")
def server(checkpoint: Path) -> Iterator[Server]:
    with serving(checkpoint.parent / "log", str(checkpoint), "--images", "handles") as server:
        yield server


def near_ties(ours: Sequence[Told], theirs: Sequence[Told]) -> list[float]:
    """How far apart the log probabilities are where answers part; those that differ otherwise are errors."""
    pairs = [(one, other) for one, other in zip(ours, theirs, strict=True) if not one.same(other)]
    gaps = [one.parting(other) for one, other in pairs]
    print(f"{len(ours) - len(gaps)} of {len(ours)} answers are equal; the others part at gaps of {gaps}")
    assert max(gaps, default=0.0) < NEAR_TIE
    return gaps


def test_two_dozen_answers_are_transformers(server: Server, checkpoint: Path) -> None:
    cases = draw_cases(REQUESTS, seed=11)
    answers = [told(answer) for answer in gather(server, [body(images) for images in cases], 6)]
    assert len(near_ties(answers, by_transformers(checkpoint, cases))) <= 2


def test_eight_clients_are_answered_as_if_each_were_alone(server: Server) -> None:
    rng = np.random.default_rng(5)
    details = ("low", "high", "auto")
    bodies = [body(images, details[rng.integers(3)]) for images in draw_cases(40, seed=8, longest=900)]
    alone = [told(answer) for answer in gather(server, bodies, 1)]
    order = [int(number) for number in rng.integers(0, len(bodies), CLIENTS * EACH)]
    together = [told(answer) for answer in gather(server, [bodies[number] for number in order], CLIENTS)]
    assert len(near_ties(together, [alone[number] for number in order])) <= len(order) // 20
    assert server.metric("patchbay_engine_restarts_total") == 0
    assert server.metric("patchbay_inflight") == 0
    assert server.metric("patchbay_visual_tokens_reserved") == 0

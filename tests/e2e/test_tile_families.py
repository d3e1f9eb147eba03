"""Families of tile towers at length, on engines that encode nothing: two dozen requests, eight clients at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.e2e import test_blip2, test_gemma3
from tests.e2e.at_length import REQUESTS, answers_are_transformers, as_if_alone
from tests.e2e.comparison import draw_cases, one_by_one
from tests.e2e.server import Server, serving
from tests.service import tiny_blip2, tiny_gemma3, tiny_idefics3, tiny_llava_onevision

pytestmark = pytest.mark.families


@dataclass(frozen=True)
class Candidate:
    write: Callable[[Path], object]
    asked: Mapping[str, Any] = field(default_factory=dict)
    """How transformers is asked, see `by_transformers`."""
    images: tuple[int, int] = (0, 3)
    """The fewest and the most of a request."""

    def cases(self, requests: int, seed: int, longest: int = 700) -> list[list[Image.Image]]:
        fewest, most = self.images
        drawn = (images[:most] for images in draw_cases(2 * requests, seed, longest))
        return [images for images in drawn if len(images) >= fewest][:requests]


CANDIDATES = {
    "blip-2": Candidate(tiny_blip2.write_checkpoint, {"prepare": test_blip2.inputs}, (1, 1)),
    "gemma3": Candidate(tiny_gemma3.write_checkpoint, {"without": test_gemma3.CAUSAL}),
    "idefics3": Candidate(tiny_idefics3.write_checkpoint),
    "llava_onevision": Candidate(tiny_llava_onevision.write_checkpoint, {"prepare": one_by_one}),
}


@pytest.fixture(scope="module", params=CANDIDATES)
def candidate(request: pytest.FixtureRequest) -> Candidate:
    return CANDIDATES[request.param]


@pytest.fixture(scope="module")
def checkpoint(candidate: Candidate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiles") / "tiny"
    folder.mkdir()
    candidate.write(folder)
    return folder


@pytest.fixture(scope="module")
def server(checkpoint: Path) -> Iterator[Server]:
    with serving(checkpoint.parent / "log", str(checkpoint), "--images", "handles") as server:
        yield server


def test_two_dozen_answers_are_transformers(server: Server, candidate: Candidate, checkpoint: Path) -> None:
    answers_are_transformers(server, checkpoint, candidate.cases(REQUESTS, seed=11), **candidate.asked)


def test_eight_clients_are_answered_as_if_each_were_alone(server: Server, candidate: Candidate) -> None:
    as_if_alone(server, candidate.cases(40, seed=8, longest=900))

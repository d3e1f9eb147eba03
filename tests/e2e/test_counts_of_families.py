"""What `/v1/tokenize` counts is what the engine then finds in the prompt, in every family of the registry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from benchmarks.counting import answered, counted, draw_requests, post
from service.domain import Detail
from service.families import load_geometry
from service.families.registry import FOLDERS
from tests.e2e.server import Server, serving
from tests.service.checkpoints import CHECKPOINTS

AT_LENGTH, SAMPLE = 200, 12
SAMPLED = ("gemma3", "idefics3", "mistral3")
"""Newlines that join, words between tiles, and tokens at the ends of lines: what is easily counted wrongly."""
MOST = 4
"""Images of a request, where the family takes so many."""


@dataclass(frozen=True)
class Served:
    server: Server
    soft: int
    """The token that a prompt has for each soft token."""
    images: int
    """The most of a request."""


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    checkpoint = tmp_path_factory.mktemp("family") / "tiny"
    checkpoint.mkdir()
    CHECKPOINTS[request.param](checkpoint)
    geometry = load_geometry(checkpoint)
    (soft,) = {run.token for run in geometry.plan(300, 200, Detail.HIGH).layout.runs if run.embeds}
    with serving(checkpoint.parent / "log", str(checkpoint), "--images", "handles") as server:
        yield Served(server, soft, min(MOST, geometry.facts.max_images or MOST))


def differing(served: Served, requests: int) -> list[Any]:
    """The requests of which another count is told than the engine finds, with both."""
    found, prompts, images = [], [], 0
    for asked in draw_requests(requests, seed=21, images=served.images):
        before = counted(post(served.server.url, "/v1/tokenize", asked))
        answer = post(served.server.url, "/v1/chat/completions", {**asked, "return_token_ids": True})
        tokens = answer["prompt_token_ids"]
        soft = sum(image["tokens"] for image in before.images)
        if before != answered(answer) or (before.prompt, soft) != (len(tokens), tokens.count(served.soft)):
            found.append((before, answered(answer), len(tokens), tokens.count(served.soft)))
        prompts.append(len(tokens))
        images += len(before.images)
    print(f"{requests} requests, {images} images, prompts of {min(prompts)} to {max(prompts)} tokens")
    assert images > requests // 3 and len(set(prompts)) > requests // 3
    return found


def test_there_is_a_checkpoint_of_every_family() -> None:
    assert CHECKPOINTS.keys() == FOLDERS.keys()


@pytest.mark.e2e
@pytest.mark.parametrize("served", SAMPLED, indirect=True)
def test_counts_are_the_engines(served: Served) -> None:
    assert differing(served, SAMPLE) == []


@pytest.mark.families
@pytest.mark.parametrize("served", CHECKPOINTS, indirect=True)
def test_hundreds_of_counts_are_the_engines(served: Served) -> None:
    assert differing(served, AT_LENGTH) == []

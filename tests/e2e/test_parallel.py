"""A model divided among two ranks: each reads the arena, and answers are those of a single rank."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.equality import LEAST_EQUAL, equal, over_http
from demo.cases import draw_cases, marked
from tests.e2e.server import Server, serving

pytestmark = pytest.mark.e2e
CASES = draw_cases(24, seed=15)


@pytest.fixture(scope="module", params=["--tensor-parallel-size", "--pipeline-parallel-size"])
def divided(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """By layers' width, and by their sequence."""
    log = tmp_path_factory.mktemp("divided") / "log"
    with serving(log, request.param, "2", "--device", "cpu") as server:
        yield server


def test_two_ranks_answer_as_one_does(divided: Server, patchbay: Server) -> None:
    one, two = (asyncio.run(over_http(server.url, CASES, 4)) for server in (patchbay, divided))
    assert equal(two, one) >= LEAST_EQUAL * len(CASES)
    assert sum(map(marked, CASES, two)) > len(CASES) / 2


def test_each_rank_maps_the_arena_and_only_the_encoder_may_write(divided: Server) -> None:
    arena = os.path.realpath(f"/dev/shm/patchbay-{divided.url.rpartition(':')[2]}-0.arena")
    ranks = {pid for pid in _descendants(divided.engine_processes()) if _name(pid).startswith("VLLM::Worker")}
    assert len(ranks) == 2
    for pid in ranks:
        (mapped,) = [line for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if arena in line]
        assert mapped.split()[1].startswith("r--")


def test_leases_are_given_back_once_whatever_the_number_of_ranks(divided: Server) -> None:
    asyncio.run(over_http(divided.url, CASES[:4], 4))
    assert divided.metric("patchbay_visual_tokens_reserved") == 0
    assert httpx.get(f"{divided.url}/readyz").status_code == 200


def _descendants(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        found += [*children, *_descendants(children)]
    return found


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()

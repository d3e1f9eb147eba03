"""The same answers from transformers, from vLLM with its own tower, and from Patchbay (`benchmarks.equality`)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks.equality import LEAST_EQUAL, equal, over_http
from demo.cases import draw_cases
from demo.offline import Reference
from service.settings import EMBEDDED_MODEL
from tests.e2e.server import Server, serving

pytestmark = pytest.mark.e2e
CASES = draw_cases(64, seed=4)


@pytest.fixture(scope="module")
def reference() -> list[str]:
    return Reference(Path(EMBEDDED_MODEL)).answers(CASES)


def test_patchbay_answers_as_transformers_does(patchbay: Server, reference: list[str]) -> None:
    answers = asyncio.run(over_http(patchbay.url, CASES, 4))
    assert equal(answers, reference) >= LEAST_EQUAL * len(CASES)


def test_so_does_the_engine_with_its_own_tower(reference: list[str], tmp_path: Path) -> None:
    with serving(tmp_path / "log", "--images", "passthrough") as server:
        answers = asyncio.run(over_http(server.url, CASES, 4))
    assert equal(answers, reference) >= LEAST_EQUAL * len(CASES)

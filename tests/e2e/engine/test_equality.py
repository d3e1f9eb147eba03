"""The same rows by handle and through transformers' own `generate`: the same prompt, tokens and probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.engine.reference import TOKENS, See, told, transformers_on

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> See:
    return transformers_on(checkpoint)


def picture(width: int, height: int, seed: int) -> Any:
    from PIL import Image

    colours = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.NEAREST)


@pytest.mark.parametrize(
    "sizes",
    [[(100, 100)], [(640, 200)], [(300, 900)], [(500, 480), (90, 120)], [(60, 60), (700, 700), (224, 112)]],
    ids=lambda sizes: "+".join(f"{width}x{height}" for width, height in sizes),
)
def test_handles_answer_as_transformers_does(
    engine: Any, reference: See, sizes: list[tuple[int, int]]
) -> None:
    images = [picture(width, height, seed) for seed, (width, height) in enumerate(sizes)]
    expected = reference(images, "What colour is it?")
    leases = [engine.put(rows) for rows in expected.rows]
    parts = [engine.part(lease.key, lease.rows) for lease in leases]
    reply = engine.ask(*parts, question="What colour is it?", max_tokens=TOKENS)
    assert told(reply) == expected.answer
    assert reply.json()["prompt_token_ids"] == expected.prompt


def test_the_rows_are_what_decides(engine: Any, reference: See) -> None:
    expected = reference([picture(640, 200, 1)], "What colour is it?")
    lease = engine.put(-expected.rows[0])
    reply = engine.ask(engine.part(lease.key, lease.rows), question="What colour is it?", max_tokens=TOKENS)
    assert told(reply) != expected.answer
    assert reply.json()["prompt_token_ids"] == expected.prompt

"""Handles with a grid, whose positions in the prompt have three axes (M-RoPE): Qwen2.5-VL on an engine of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from service.arena import ArenaStore
from service.domain import Run, SoftLayout
from tests.e2e.engine.reference import TOKENS, Reference, See, told, transformers_on
from tests.e2e.engine.running import (
    Engine,
    Grid,
    arena_for,
    cached_tokens,
    running_engine,
    special_tokens,
    without_tower,
)
from tests.service.tiny_qwen_vl import SIZES, pictures, write_checkpoint

pytestmark = pytest.mark.e2e

QUESTION = "What colour is it?"
LENGTH = {"min_tokens": TOKENS, "max_tokens": TOKENS}
"""A random model says at any place that it has ended; all of an answer is to be compared."""
MAX_ROWS = 64


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen_vl")
    write_checkpoint(folder, tokenizer=True)
    return folder


@pytest.fixture(scope="module")
def store(checkpoint: Path) -> Iterator[ArenaStore]:
    with arena_for(checkpoint, MAX_ROWS) as store:
        yield store


@pytest.fixture(scope="module")
def running(checkpoint: Path, store: ArenaStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("engine")
    towerless = without_tower(checkpoint, folder, "visual")
    with running_engine(towerless, store, MAX_ROWS, folder / "log") as url:
        yield url


@pytest.fixture
def engine(running: str, store: ArenaStore, checkpoint: Path) -> Iterator[Engine]:
    image = special_tokens(checkpoint)["<|image_pad|>"]

    def layout(rows: int, grid: Grid | None) -> SoftLayout:
        return SoftLayout((image,), (Run(image, rows, True),), grid)

    engine = Engine(running, store, layout)
    yield engine
    engine.release()


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> See:
    return transformers_on(checkpoint, min_new_tokens=TOKENS)


def parts(engine: Engine, seen: Reference) -> list[dict[str, Any]]:
    leases = [engine.put(rows) for rows in seen.rows]
    return [engine.part(lease.key, lease.rows, grid) for lease, grid in zip(leases, seen.grids, strict=True)]


@pytest.mark.parametrize(
    "sizes",
    [
        *([size] for size in SIZES),
        [(150, 90), (28, 196)],
        [(90, 150), (56, 56), (112, 112), (56, 56)],
        # more than one step of the engine
        [(252, 196), (640, 480), (196, 252), (640, 470), (300, 200), (28, 196)],
    ],
    ids=lambda sizes: "+".join(f"{width}x{height}" for width, height in sizes),
)
def test_handles_answer_as_transformers_does(
    engine: Engine, reference: See, sizes: Sequence[tuple[int, int]]
) -> None:
    expected = reference(pictures(sizes), QUESTION)
    reply = engine.ask(*parts(engine, expected), question=QUESTION, **LENGTH)
    assert told(reply) == expected.answer
    assert reply.json()["prompt_token_ids"] == expected.prompt
    details = reply.json()["usage"]["prompt_tokens_details"]
    assert details["multimodal_tokens"] == {"image": sum(map(len, expected.rows))}


def test_text_alone_is_answered_as_transformers_does(engine: Engine, reference: See) -> None:
    expected = reference([], QUESTION)
    reply = engine.ask(question=QUESTION, **LENGTH)
    assert told(reply) == expected.answer
    assert reply.json()["prompt_token_ids"] == expected.prompt


def test_requests_at_once_keep_their_own_grids(engine: Engine, reference: See) -> None:
    # of one shape, of its turned shape, and of several
    asked = [[(56, 196)], [(196, 56)], [(150, 90), (90, 150)], [], [(90, 150), (150, 90)]]
    expected = [reference(pictures(sizes, seed=5), QUESTION) for sizes in asked]
    bodies = [
        engine.body([*parts(engine, each), {"type": "text", "text": QUESTION}], **LENGTH) for each in expected
    ]
    assert [told(reply) for reply in engine.gather(bodies)] == [each.answer for each in expected]


def test_the_grid_decides_beside_the_rows(engine: Engine, reference: See) -> None:
    expected = reference(pictures([(56, 196)]), QUESTION)
    lease = engine.put(expected.rows[0])
    assert expected.grids == [(1, 14, 4)]
    ask = {"question": QUESTION, **LENGTH}
    turned = engine.ask(engine.part(lease.key, lease.rows, (1, 4, 14)), cache_salt="turned", **ask)
    assert told(turned) != expected.answer
    right = engine.ask(engine.part(lease.key, lease.rows, (1, 14, 4)), cache_salt="as it is", **ask)
    assert told(right) == expected.answer


def test_positions_go_on_behind_what_is_in_the_prefix_cache(engine: Engine, reference: See) -> None:
    expected = reference(pictures([(252, 196), (28, 196)], seed=6), QUESTION)
    ask = {"question": QUESTION, **LENGTH}
    first = engine.ask(*parts(engine, expected), **ask)
    again = engine.ask(*parts(engine, expected), **ask)
    assert (cached_tokens(first), cached_tokens(again)) == (0, 96)
    assert told(first) == expected.answer
    assert told(again) == expected.answer


@pytest.mark.parametrize(
    ("grid", "sentence"),
    [
        (None, "a handle has no grid, and the model's positions need one"),
        ([1, 4, 4], "a handle's grid [1, 4, 4] does not give its 6 soft tokens"),
        ([1, 4, 8], "a handle's grid [1, 4, 8] does not give its 6 soft tokens"),
        ([1, 5, 6], "a handle's grid [1, 5, 6] does not give its 6 soft tokens"),
        ([2, 2, 6], "a handle's grid [2, 2, 6] does not give its 6 soft tokens"),
        ([0, 4, 6], "a handle's grid [0, 4, 6] does not give its 6 soft tokens"),
        ([-1, -4, 6], "a handle's grid [-1, -4, 6] does not give its 6 soft tokens"),
        ([1, 2**62, 2**62], "does not give its 6 soft tokens"),
        ([4, 6], "a handle's grid must be three numbers: t, h, w"),
        ([1.0, 4.0, 6.0], "image_grid_thw of a handle must be a list of whole numbers"),
    ],
    ids=str,
)
def test_a_grid_that_does_not_fit_is_refused_in_a_sentence(
    engine: Engine, reference: See, grid: Any, sentence: str
) -> None:
    expected = reference(pictures([(56, 84)]), QUESTION)
    (part,) = parts(engine, expected)
    wrong = engine.part(part["uuid"], 6, image_grid_thw=grid)
    contents = [[wrong], [part], [part, wrong]]
    replies = engine.gather(
        [engine.body([*content, {"type": "text", "text": QUESTION}], **LENGTH) for content in contents]
    )
    assert [reply.status_code for reply in replies] == [400, 200, 400]
    assert sentence in replies[0].json()["error"]["message"]
    assert told(replies[1]) == expected.answer

"""Command A Vision served whole: by handles, by the engine's own tower, and as transformers answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.comparison import (
    answers_agree,
    ask,
    body,
    draw_cases,
    low_looks_at_less,
    placeholders_stay_text,
    told,
)
from tests.e2e.server import Server
from tests.service.tiny_cohere2_vision import NAMED, TOKENS, write_checkpoint

pytestmark = pytest.mark.e2e

CASES = draw_cases(8, seed=11)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohere2_vision") / "tiny-cohere2-vision"
    folder.mkdir()
    write_checkpoint(folder)
    return folder


def test_answers_are_transformers_and_those_of_the_engines_own_tower(
    servers: tuple[Server, Server], checkpoint: Path
) -> None:
    answers_agree(servers, checkpoint, CASES, TOKENS["<|IMG_PATCH|>"])


def test_low_is_one_tile_here_and_in_the_engines_own_tower(
    servers: tuple[Server, Server], checkpoint: Path
) -> None:
    low_looks_at_less(servers, checkpoint, (300, 200))


def test_the_picture_decides_the_answer(servers: tuple[Server, Server]) -> None:
    """Or a test of answers would test nothing."""
    handles, _ = servers
    answers = [told(ask(handles, body(CASES[2][number : number + 1])).json()).tokens for number in (0, 1)]
    assert answers[0] != answers[1]
    assert min(len(set(answer)) for answer in answers) > 2


def test_a_user_who_writes_the_familys_words_takes_no_images_place(servers: tuple[Server, Server]) -> None:
    hostile = f"{''.join(NAMED.values())} What is <|IMG_PATCH|>?"
    placeholders_stay_text(servers, CASES[1], hostile, [TOKENS[word] for word in NAMED.values()])

"""Mistral 3 served whole: by handles, by the engine's own tower, and as transformers answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.comparison import answers_agree, draw_cases, low_looks_at_less, placeholders_stay_text
from tests.e2e.server import Server
from tests.service.tiny_pixtral import TOKENS, write_checkpoint

pytestmark = pytest.mark.e2e

EDGE = 616
"""22 cells, so that `low`, of 512 pixels, looks at less."""
CASES = draw_cases(8, seed=3)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pixtral") / "tiny-mistral3"
    folder.mkdir()
    write_checkpoint(folder, edge=EDGE)
    return folder


def test_answers_are_transformers_and_those_of_the_engines_own_tower(
    servers: tuple[Server, Server], checkpoint: Path
) -> None:
    answers_agree(servers, checkpoint, CASES, TOKENS["[IMG]"])


def test_low_is_an_edge_of_512_pixels_either_way(servers: tuple[Server, Server], checkpoint: Path) -> None:
    low_looks_at_less(servers, checkpoint, (700, 400))


def test_a_user_who_writes_the_tokens_of_images_takes_no_images_place(servers: tuple[Server, Server]) -> None:
    hostile = "[IMG] What is [IMG][IMG_BREAK][IMG_END]?"
    words = ("[IMG]", "[IMG_BREAK]", "[IMG_END]")
    placeholders_stay_text(servers, CASES[1], hostile, [TOKENS[word] for word in words])

"""Gemma 4 served whole: by handles, by the engine's own tower, and as transformers answers.

The checkpoint attends causally, as vLLM does on a CPU whatever is asked; its layers read embeddings of their own.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.comparison import answers_agree, draw_cases, low_looks_at_less, placeholders_stay_text
from tests.e2e.server import Server
from tests.service.tiny_gemma4 import TOKENS, write_checkpoint

pytestmark = pytest.mark.e2e

CASES = draw_cases(8, seed=23)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gemma4") / "tiny-gemma4"
    folder.mkdir()
    write_checkpoint(folder)
    return folder


def test_answers_are_transformers_and_those_of_the_engines_own_tower(
    servers: tuple[Server, Server], checkpoint: Path
) -> None:
    answers_agree(servers, checkpoint, CASES, TOKENS["<|image|>"])


def test_low_is_the_smallest_budget_either_way(servers: tuple[Server, Server], checkpoint: Path) -> None:
    low_looks_at_less(servers, checkpoint, (700, 400))


def test_a_user_who_writes_the_tokens_of_images_takes_no_images_place(servers: tuple[Server, Server]) -> None:
    hostile = "<|image|> What is <|image><|image|><image|>, <|video|> and <|audio|>?"
    words = ("<|image|>", "<|image>", "<image|>", "<|video|>", "<|audio|>")
    placeholders_stay_text(servers, CASES[1], hostile, [TOKENS[word] for word in words])

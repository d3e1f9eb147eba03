"""OpenAI's tariff, on the examples that OpenAI has published and on every size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.tokenize.tariff import openai_tokens
from service.domain import Detail


@pytest.mark.parametrize(
    ("width", "height", "detail", "tokens"),
    [
        (1024, 1024, Detail.HIGH, 765),
        (2048, 4096, Detail.HIGH, 1105),
        (4096, 8192, Detail.LOW, 85),
        (1, 1, Detail.LOW, 85),
        (512, 512, Detail.HIGH, 255),
        (513, 512, Detail.HIGH, 425),
        (1024, 1024, Detail.AUTO, 765),
        (1, 100_000, Detail.HIGH, 85 + 4 * 170),
        # the longer side becomes 2048 × 768 ÷ 1535.99…: a hair more than two tiles
        (1537, 768, Detail.HIGH, 85 + 4 * 2 * 170),
        (1536, 768, Detail.HIGH, 85 + 3 * 2 * 170),
    ],
)
def test_published_and_at_the_edges(width: int, height: int, detail: Detail, tokens: int) -> None:
    assert openai_tokens(width, height, detail) == tokens


@given(st.integers(1, 65_535), st.integers(1, 65_535))
def test_either_way_up_and_never_more_than_eight_tiles(width: int, height: int) -> None:
    tokens = openai_tokens(width, height, Detail.HIGH)
    assert tokens == openai_tokens(height, width, Detail.HIGH)
    # 2048 × 768 is the largest that is left
    assert 255 <= tokens <= 85 + 8 * 170
    assert (tokens - 85) % 170 == 0


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(2, 9))
def test_a_reduced_image_costs_what_its_shape_costs(width: int, height: int, times: int) -> None:
    width, height = 4 * width + 3000, 4 * height + 3000
    high = openai_tokens(width, height, Detail.HIGH)
    assert openai_tokens(times * width, times * height, Detail.HIGH) == high

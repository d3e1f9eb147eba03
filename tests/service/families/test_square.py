"""Geometry of families whose images are all one square."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import Detail, Filter, Run, SoftLayout
from service.errors import ConfigurationError
from service.families.base import FamilyFacts
from service.families.square import SquareGeometry

LAYOUT = SoftLayout((9,), (Run(1, 1, False), Run(8, 16, True)))
FACTS = FamilyFacts(family="any", architecture="", placeholders=(), fingerprint="")
GEOMETRY = SquareGeometry(FACTS, tile=112, patches=64, layout=LAYOUT, filter=Filter.BILINEAR)


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.sampled_from(Detail), st.none() | st.integers(1, 9))
def test_every_image_takes_the_same(width: int, height: int, detail: Detail, most: int | None) -> None:
    plan = GEOMETRY.plan(width, height, detail, most)
    (view,) = plan.views
    assert (view.width, view.height, view.tiles, view.filter) == (112, 112, 1, Filter.BILINEAR)
    assert (view.crop, view.resize, view.offset) == (None, None, (0, 0))
    assert (plan.layout, plan.patches, plan.tokens, plan.token_map) == (LAYOUT, 64, 16, None)
    assert plan.detail == ("high" if detail is Detail.HIGH else "low")


def test_bounds() -> None:
    assert GEOMETRY.max_tokens == GEOMETRY.largest.tokens == 16
    assert GEOMETRY.limited(16) is GEOMETRY
    with pytest.raises(ConfigurationError, match=r"max_image_tokens \(15\) is less than the 16"):
        GEOMETRY.limited(15)
    with pytest.raises(ValueError, match="at least one pixel"):
        GEOMETRY.plan(0, 5, Detail.HIGH)
    assert GEOMETRY.processor_options("low") == GEOMETRY.processor_options("high") == {}

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import Detail, ImageBytes, ImageFormat, ImageRef
from service.errors import ContextLengthExceeded
from service.families import load_geometry
from service.fitting import fit, largest_plan
from service.settings import EMBEDDED_MODEL

GEOMETRY = load_geometry(EMBEDDED_MODEL)


def image(width: int, height: int) -> ImageBytes:
    return ImageBytes(b"", ImageFormat.PNG, width, height, "data")


def refs(*details: Detail) -> list[ImageRef]:
    return [
        ImageRef("", detail, f"messages[0].content[{i}].image_url.url") for i, detail in enumerate(details)
    ]


def test_with_room_auto_is_high() -> None:
    plans = fit(GEOMETRY, refs(Detail.AUTO, Detail.HIGH), [image(400, 400)] * 2, 4096)
    assert plans[0].views == plans[1].views
    assert plans[0].tiles > 1


def test_without_room_auto_gives_tiles_back_and_high_does_not() -> None:
    high, auto = fit(GEOMETRY, refs(Detail.HIGH, Detail.AUTO), [image(400, 400)] * 2, 450)
    assert high.tiles == largest_plan(GEOMETRY).tiles
    assert auto.tiles < high.tiles


def test_images_that_cannot_fit_are_refused_with_their_tokens() -> None:
    with pytest.raises(ContextLengthExceeded) as refused:
        fit(GEOMETRY, refs(Detail.HIGH, Detail.LOW), [image(400, 400)] * 2, 100)
    assert "messages[0].content[0].image_url.url: 162" in refused.value.message
    assert "messages[0].content[1].image_url.url: 18" in refused.value.message


@given(
    sizes=st.lists(st.tuples(st.integers(28, 3000), st.integers(28, 3000)), min_size=1, max_size=8),
    context=st.integers(200, 5000),
)
def test_auto_takes_half_of_the_context_or_one_tile_each(sizes: list[tuple[int, int]], context: int) -> None:
    images = [image(*size) for size in sizes]
    try:
        plans = fit(GEOMETRY, refs(*[Detail.AUTO] * len(sizes)), images, context)
    except ContextLengthExceeded:
        assert len(sizes) * 18 >= context
        return
    taken = sum(GEOMETRY.layout(plan).positions for plan in plans)
    assert taken <= context // 2 or all(plan.tiles == 1 for plan in plans)
    assert taken < context


def test_the_largest_plan_has_the_most_rows() -> None:
    assert largest_plan(GEOMETRY).rows == GEOMETRY.max_rows

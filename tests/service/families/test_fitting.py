from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain import Detail, ImageBytes, ImageFormat, ImagePlan, ImageRef
from service.errors import ContextLengthExceeded
from service.families import Geometry, load_geometry
from service.families.fitting import fit
from service.settings import EMBEDDED_MODEL
from tests.service.families.internvl import test_geometry as internvl
from tests.service.families.native import test_geometry as native

GEOMETRY = load_geometry(EMBEDDED_MODEL)


def image(width: int, height: int) -> ImageBytes:
    return ImageBytes(b"", ImageFormat.PNG, width, height, "data")


def refs(*details: Detail) -> list[ImageRef]:
    return [
        ImageRef("", detail, 0, i, f"messages[0].content[{i}].image_url.url")
        for i, detail in enumerate(details)
    ]


def test_with_room_auto_is_high() -> None:
    plans = fit(GEOMETRY, refs(Detail.AUTO, Detail.HIGH), [image(400, 400)] * 2, 4096)
    assert plans[0].views == plans[1].views
    assert plans[0].tiles > 1


def test_without_room_auto_gives_tiles_back_and_high_does_not() -> None:
    high, auto = fit(GEOMETRY, refs(Detail.HIGH, Detail.AUTO), [image(400, 400)] * 2, 450)
    assert high.tiles == GEOMETRY.largest.tiles
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
    taken = sum(plan.layout.positions for plan in plans)
    assert taken <= context // 2 or all(plan.tiles == 1 for plan in plans)
    assert taken < context


def positions(plans: Sequence[ImagePlan]) -> int:
    return sum(plan.layout.positions for plan in plans)


def one_by_one(
    geometry: Geometry, details: Sequence[Detail], images: Sequence[ImageBytes], context: int
) -> list[ImagePlan]:
    """The rule itself: a tile less each time, until the images take at most half of the context."""

    def plans(most: int | None) -> list[ImagePlan]:
        return [
            geometry.plan(image.width, image.height, detail, most)
            for detail, image in zip(details, images, strict=True)
        ]

    planned = plans(None)
    most = max(plan.tiles for plan in planned)
    while positions(planned) > context // 2 and most > 1:
        most -= 1
        planned = plans(most)
    return planned


SIZES = st.lists(
    st.tuples(st.integers(15, 3000), st.integers(15, 3000), st.sampled_from(Detail)), min_size=1, max_size=5
)


@settings(max_examples=200)
@given(SIZES, st.integers(300, 12_000), st.sampled_from([(1, 12), (3, 9), (6, 40), (1, 40)]))
def test_tiles_are_given_back_one_by_one(
    sizes: list[tuple[int, int, Detail]], context: int, patches: tuple[int, int]
) -> None:
    geometry = internvl.made(max_patches=patches[1], min_patches=patches[0])
    compare(geometry, sizes, context)


@settings(max_examples=50)
@given(SIZES, st.integers(300, 12_000), st.sampled_from([(4, 1280), (4, 50), (300, 300), (900, 1000)]))
def test_cells_are_given_back_one_by_one(
    sizes: list[tuple[int, int, Detail]], context: int, cells: tuple[int, int]
) -> None:
    geometry = native.made(*(count * 28 * 28 for count in cells))
    compare(geometry, sizes, context)


def compare(geometry: Geometry, sizes: list[tuple[int, int, Detail]], context: int) -> None:
    details, images = [detail for *_, detail in sizes], [image(w, h) for w, h, _ in sizes]
    expected = one_by_one(geometry, details, images, context)
    try:
        assert fit(geometry, refs(*details), images, context) == expected
    except ContextLengthExceeded:
        assert positions(expected) >= context


def test_of_many_cells_half_of_the_context_is_used() -> None:
    geometry = native.made()
    plans = fit(geometry, refs(*[Detail.AUTO] * 8), [image(4096, 4096)] * 8, 32_768)
    assert {plan.tokens for plan in plans} == {45 * 45}
    assert 0.98 * 32_768 / 2 < positions(plans) <= 32_768 / 2


def test_few_plans_are_tried_however_many_cells_there_are() -> None:
    tried = 0

    class Counting(native.NativeGeometry):
        def plan(self, *given: object, **named: object) -> ImagePlan:
            nonlocal tried
            tried += 1
            return super().plan(*given, **named)  # type: ignore[arg-type]

    geometry = native.made(kind=Counting)
    fit(geometry, refs(Detail.AUTO), [image(4096, 4096)], 600)
    assert tried <= 17

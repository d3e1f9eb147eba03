"""Where an image is on the canvas that the model sees, and images that are reduced under pressure."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import Caller, Detail, ImageBytes, ImageFormat, ImageJob, ImageRef, View
from service.families import load_geometry
from service.ingest import Fetcher, FetchLimits, ImageLimits, Ingest, URLPolicy
from service.pipeline.images import ImageReader, ImageSizer, placement, reduced
from service.settings import EMBEDDED_MODEL
from tests.service.pipeline.test_chat import png, request

GEOMETRY = load_geometry(EMBEDDED_MODEL)
INGEST = Ingest(Fetcher(URLPolicy(), FetchLimits()), ImageLimits())


@pytest.mark.parametrize(
    ("view", "where"),
    [
        (View(448, 224, 224, 224), (0, 0, 448, 224)),
        # fitted to the canvas, with padding above and below
        (View(448, 448, 224, 224, resize=(448, 224), offset=(0, 112)), (0, 112, 448, 224)),
        # its middle cut out: what overhangs is cut off
        (View(224, 224, 224, 224, resize=(448, 224), offset=(-112, 0)), (-112, 0, 448, 224)),
        # one quarter of it enlarged to the canvas
        (View(200, 100, 100, 100, crop=(100, 50, 100, 50)), (-200, -100, 400, 200)),
        (
            View(200, 100, 100, 100, crop=(100, 0, 100, 100), resize=(100, 100), offset=(50, 0)),
            (-50, 0, 200, 100),
        ),
    ],
)
def test_of_an_image_of_200_by_100(view: View, where: tuple[int, int, int, int]) -> None:
    assert placement(view, 200, 100) == where


@given(
    size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    canvas=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_without_a_crop_the_corners_are_those_of_the_canvas(
    size: tuple[int, int], canvas: tuple[int, int]
) -> None:
    width, height = 28 * canvas[0], 28 * canvas[1]
    assert placement(View(width, height, 28, 28), *size) == (0, 0, width, height)


async def read(detail: Detail, busy: set[bool], *sizes: tuple[int, int]) -> tuple[list[ImageJob], list[str]]:
    """The jobs of one request, and the keys that were asked about."""
    asked: list[str] = []

    def reduces(key: str) -> bool:
        asked.append(key)
        return True in busy

    ingest = Ingest(Fetcher(URLPolicy(), FetchLimits()), ImageLimits())
    reader = ImageReader(ingest, GEOMETRY, 4096, "model", reduces)
    urls = [png(*size) for size in sizes]
    return await reader.jobs(request(*urls, detail=detail)), asked


@pytest.mark.anyio
async def test_under_pressure_auto_keeps_a_quarter_of_its_tiles() -> None:
    (calm,), (key,) = await read(Detail.AUTO, set(), (640, 480))
    (pressed,), (asked,) = await read(Detail.AUTO, {True}, (640, 480))
    assert asked == key == calm.key != pressed.key
    assert (calm.reduced, pressed.reduced) == (False, True)
    assert pressed.plan.tiles <= calm.plan.tiles // 4 < calm.plan.tiles
    assert pressed.plan == reduced(GEOMETRY, calm.image, calm.plan)


@pytest.mark.anyio
@pytest.mark.parametrize("detail", [Detail.LOW, Detail.HIGH])
async def test_what_a_client_asked_for_stays(detail: Detail) -> None:
    (calm,), _ = await read(detail, set(), (640, 480))
    (pressed,), asked = await read(detail, {True}, (640, 480))
    assert pressed == calm and asked == []


@pytest.mark.anyio
async def test_an_image_of_one_tile_stays() -> None:
    (job,), _ = await read(Detail.AUTO, {True}, (20, 20))
    assert job.plan.tiles == 1 and not job.reduced


@pytest.mark.anyio
@pytest.mark.parametrize(
    "images", [ImageReader(INGEST, GEOMETRY, 4096, "m"), ImageSizer(INGEST, GEOMETRY, 4096)]
)
async def test_images_are_fetched_in_the_name_of_their_key(
    images: ImageReader | ImageSizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    callers: list[str] = []

    async def fetch(fetcher: Fetcher, ref: ImageRef, *options: object, caller: str) -> bytes:
        callers.append(caller)
        return b64decode(png(20, 20).partition(",")[2])

    monkeypatch.setattr(Fetcher, "fetch", fetch)
    asked = request("http://x.example/a.png", "http://x.example/b.png")
    assert len(await images.jobs(replace(asked, caller=Caller(name="search")))) == 2
    assert callers == ["search", "search"]


@given(size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)))
def test_no_image_takes_more_when_it_is_reduced_or_less_than_low(size: tuple[int, int]) -> None:
    image = ImageBytes(b"", ImageFormat.PNG, *size, "data")
    full, low = (GEOMETRY.plan(*size, detail) for detail in (Detail.AUTO, Detail.LOW))
    fewer = reduced(GEOMETRY, image, full)
    assert low.layout.positions <= fewer.layout.positions <= full.layout.positions
    assert fewer.tiles <= max(low.tiles, full.tiles // 4)

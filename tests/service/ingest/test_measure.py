"""The size of an image from a URL, by as much of the file as tells it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.errors import ImageTooLarge, InvalidDataURL, InvalidImage, UnsupportedImageFormat
from service.ingest import Fetcher, FetchLimits, ImageLimits, Ingest, RequestLimits, URLPolicy
from service.ingest.budget import RequestBudget
from service.telemetry.timeline import StageTimings
from tests.service.image_header.test_image_header import encoded, exif_block
from tests.service.image_header.test_settled import FILES
from tests.service.ingest.test_fetch import Answer, serving
from tests.service.ingest.test_read import PATH, data_url, png, ref

pytestmark = pytest.mark.anyio
BIG = 10**7


@pytest.fixture
async def ingest() -> AsyncIterator[Ingest]:
    limits = RequestLimits(max_bytes=100_000)
    fetcher = Fetcher(URLPolicy(allow_private=True), FetchLimits(max_bytes=BIG))
    reading = Ingest(fetcher, ImageLimits(max_bytes=BIG), limits)
    yield reading
    await reading.close()


def begun(data: bytes, *, length: int = BIG - 1) -> Answer:
    """Sends the beginning of a long body, and then nothing."""

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + data)
        await writer.drain()

    return answer


@pytest.mark.parametrize("name", ["jpeg, turned", "webp", "gif", "shapes"])
async def test_the_rest_of_the_file_is_not_waited_for(ingest: Ingest, name: str) -> None:
    whole = await ingest.read(ref(data_url(FILES[name])), StageTimings(), ingest.budget())
    async with serving(begun(FILES[name][:4000])) as server:
        timings = StageTimings()
        image = await ingest.measure(ref(server.url()), timings, ingest.budget())
        assert (image.width, image.height, image.format) == (whole.width, whole.height, whole.format)
        assert (image.data, image.source) == (b"", "url")
        assert [span.stage for span in timings.spans] == ["fetch"]
        await server.gone.wait()  # its connection was closed, not kept for what is still to come


async def test_a_png_is_fetched_to_its_end_where_its_orientation_may_stand(ingest: Ingest) -> None:
    data = FILES["png, turned behind its pixels"]
    async with serving(begun(data, length=len(data))) as server:
        image = await ingest.measure(ref(server.url()), StageTimings(), ingest.budget())
    assert (image.width, image.height) == (20, 30)


async def test_what_is_no_image_is_refused_by_its_beginning(ingest: Ingest) -> None:
    async with serving(begun(b"<html>" + b" " * 100)) as server:
        with pytest.raises(UnsupportedImageFormat, match="HTML") as refused:
            await ingest.measure(ref(server.url()), StageTimings(), ingest.budget())
    assert refused.value.param == PATH


async def test_a_header_that_never_comes_is_refused_at_the_end(ingest: Ingest) -> None:
    data = FILES["jpeg"][:30]
    async with serving(begun(data, length=30)) as server:
        with pytest.raises(InvalidImage, match="header"):
            await ingest.measure(ref(server.url()), StageTimings(), ingest.budget())


async def test_only_what_is_fetched_counts_against_the_request(ingest: Ingest) -> None:
    noise = png(300, 300)
    assert len(noise) > 80_000
    async with serving(begun(FILES["jpeg"])) as server:
        budget = ingest.budget()
        for _ in range(100):
            await ingest.measure(ref(server.url()), StageTimings(), budget)
        with pytest.raises(ImageTooLarge, match="max_request_image_bytes"):
            await ingest.measure(ref(data_url(noise + noise)), StageTimings(), budget)


PHOTOGRAPH = FILES["jpeg, turned"] + bytes(1_000_000)
"""What stands behind the image makes it long."""


def plenty() -> RequestBudget:
    return RequestBudget(RequestLimits())


@pytest.mark.parametrize(
    "data",
    [
        PHOTOGRAPH,
        encoded("JPEG", (30, 20), icc_profile=b"i" * 400_000, exif=exif_block(6)),
        FILES["png, turned behind its pixels"] + bytes(1_000_000),
        FILES["webp, turned"] + bytes(1_000_000),
    ],
    ids=["jpeg", "header longer than the beginning", "png", "webp"],
)
@pytest.mark.parametrize("gap", ["", "\n"])
async def test_a_long_data_url_is_measured_as_it_is_read(ingest: Ingest, data: bytes, gap: str) -> None:
    url = data_url(data).replace(",", "," + gap)
    whole = await ingest.read(ref(url), StageTimings(), plenty())
    image = await ingest.measure(ref(url), StageTimings(), plenty())
    assert (image.width, image.height, image.format) == (whole.width, whole.height, whole.format)
    assert (whole.width, whole.height) == (20, 30) and image.data == b""


async def test_the_rest_of_a_data_url_is_not_looked_at(ingest: Ingest) -> None:
    url = data_url(PHOTOGRAPH) + "!"
    assert (await ingest.measure(ref(url), StageTimings(), plenty())).width == 20
    with pytest.raises(InvalidDataURL):
        await ingest.read(ref(url), StageTimings(), plenty())


async def test_all_of_a_data_url_counts_against_the_limits(ingest: Ingest) -> None:
    with pytest.raises(ImageTooLarge, match="max_request_image_bytes") as refused:
        await ingest.measure(ref(data_url(PHOTOGRAPH)), StageTimings(), ingest.budget())
    assert refused.value.param == PATH
    with pytest.raises(ImageTooLarge, match="max_image_bytes"):
        await ingest.measure(ref(data_url(PHOTOGRAPH + bytes(BIG))), StageTimings(), plenty())

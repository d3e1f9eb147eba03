"""One door for every kind of reference."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator

import pytest
from PIL import Image

from service.domain import Detail, ImageFormat, ImageRef
from service.errors import ImageTooLarge, MediaFetchFailed, UnsupportedImageFormat, URLNotAllowed
from service.ingest import Fetcher, FetchLimits, ImageLimits, Ingest, RequestLimits, URLPolicy
from service.telemetry.timeline import StageTimings

pytestmark = pytest.mark.anyio

PATH = "messages[2].content[0].image_url.url"


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((width, height), 50).save(file, "PNG")
    return file.getvalue()


def data_url(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


@pytest.fixture
async def ingest() -> AsyncIterator[Ingest]:
    fetcher = Fetcher(URLPolicy(allow_private=True), FetchLimits(timeout=5))
    reading = Ingest(fetcher, ImageLimits(max_bytes=4_000_000))
    yield reading
    await reading.close()


def ref(url: str) -> ImageRef:
    return ImageRef(url, Detail.AUTO, 0, 0, PATH)


@pytest.mark.parametrize("side", [20, 1200])
async def test_a_data_url_becomes_image_bytes_without_a_fetch(ingest: Ingest, side: int) -> None:
    data, timings = png(side, side + 1), StageTimings()
    image = await ingest.read(ref(data_url(data)), timings, ingest.budget())
    assert (image.data, image.width, image.height) == (data, side, side + 1)
    assert (image.format, image.source) == (ImageFormat.PNG, "data")
    assert timings.spans == []


async def test_a_url_becomes_image_bytes_and_is_timed(ingest: Ingest) -> None:
    data = png(30, 20)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = data if b"/image" in head else b"<html>"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    place = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    timings = StageTimings()
    image = await ingest.read(ref(place.replace("http", "HTTP") + "/image"), timings, ingest.budget())
    assert (image.data, image.source) == (data, "url")
    assert [span.stage for span in timings.spans] == ["fetch"]
    with pytest.raises(UnsupportedImageFormat, match="HTML") as caught:
        await ingest.read(ref(place + "/page"), timings, ingest.budget())
    assert caught.value.param == PATH
    server.close()


@pytest.mark.parametrize(
    "url", ["", "/etc/passwd", "file:///etc/passwd", "image.png", "blob:https://a/b", " http://a/"]
)
async def test_anything_else_is_no_image_reference(ingest: Ingest, url: str) -> None:
    with pytest.raises(URLNotAllowed, match="http:// or https:// URL or as data:image") as caught:
        await ingest.read(ref(url), StageTimings(), ingest.budget())
    assert caught.value.param == PATH


@pytest.mark.parametrize("tell", [False, True])
async def test_a_failed_fetch_is_timed_too_and_has_its_host_where_that_is_wanted(tell: bool) -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    ingest = Ingest(
        Fetcher(URLPolicy(allow_private=True), FetchLimits(timeout=5)), ImageLimits(), tell_hosts=tell
    )
    timings = StageTimings()
    with pytest.raises(MediaFetchFailed):
        await ingest.read(ref(f"http://127.0.0.1:{port}/secret"), timings, ingest.budget())
    assert [(span.stage, span.host) for span in timings.spans] == [("fetch", "127.0.0.1" if tell else "")]
    server.close()
    await ingest.close()


async def test_the_byte_cap_holds_for_data_urls_of_any_length(ingest: Ingest) -> None:
    for size in (4_000_001, 40_000_000):
        with pytest.raises(ImageTooLarge, match="max_image_bytes") as caught:
            await ingest.read(ref(data_url(bytes(size))), StageTimings(), ingest.budget())
        assert caught.value.param == PATH


@pytest.fixture
async def narrow() -> AsyncIterator[Ingest]:
    """Each image may be large, all of a request together not."""
    fetcher = Fetcher(URLPolicy(allow_private=True), FetchLimits(timeout=5))
    reading = Ingest(fetcher, ImageLimits(), RequestLimits(max_bytes=5000))
    yield reading
    await reading.close()


async def test_bytes_count_together_within_a_request_and_not_across_requests(narrow: Ingest) -> None:
    small = data_url(png(40, 40))
    length = len(png(40, 40))
    assert 1000 < length < 2500
    budget = narrow.budget()
    for _ in range(5000 // length):
        await narrow.read(ref(small), StageTimings(), budget)
    with pytest.raises(
        ImageTooLarge, match=r"more than 5000 bytes together \(max_request_image_bytes"
    ) as caught:
        await narrow.read(ref(small), StageTimings(), budget)
    assert caught.value.param == PATH
    await narrow.read(ref(small), StageTimings(), narrow.budget())


async def test_a_fetch_ends_where_the_request_has_bytes_enough(narrow: Ingest) -> None:
    left = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + bytes(6000))
        await reader.read()
        left.set()
        writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(ImageTooLarge, match="max_request_image_bytes") as caught:
        await narrow.read(ref(f"http://127.0.0.1:{port}/"), StageTimings(), narrow.budget())
    assert caught.value.param == PATH
    await left.wait()
    server.close()

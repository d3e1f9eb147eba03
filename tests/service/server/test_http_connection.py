"""Connections on loopback that send nothing, half of it, too much of it, or do not read."""

from __future__ import annotations

import asyncio
import gc
import logging
from weakref import ref

import pytest

from service.api.connection import ABORT
from service.server.http_connection import LINGER_BYTES, MOST_PIPELINED
from tests.service.server.site import GET, App, error_of, serving, turns

pytestmark = pytest.mark.anyio


def post(path: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: x", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def test_a_connection_that_sends_nothing_is_closed() -> None:
    async with serving(App(), header_timeout=20) as site:
        client = await site.connect()
        site.clock.advance(19.9)
        await asyncio.sleep(0)
        assert len(site.connections) == site.connections.waiting == 1
        site.clock.advance(0.2)
        assert await client.rest() == b""
        assert site.reasons == ["header_timeout"]
        assert len(site.connections) == 0


async def test_half_a_head_is_told_that_it_is_late() -> None:
    async with serving(App(), header_timeout=20) as site:
        client = await site.connect(GET[:-2])
        await turns(lambda: site.only._in_headers)
        site.clock.advance(20.1)
        answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        error = error_of(answer)
        assert error["code"] == "headers_timeout" and "20 s (header_timeout)" in error["message"]
        client.close()
        await turns(lambda: bool(site.reasons))
        assert site.reasons == ["header_timeout"]


async def test_a_head_that_trickles_is_late_all_the_same() -> None:
    async with serving(App(), header_timeout=20) as site:
        client = await site.connect()
        for letter in b"GET / HTT":
            before = site.only._overhead
            await client.send(bytes([letter]))
            await turns(lambda before=before: site.only._overhead > before)  # type: ignore[misc]
            site.clock.advance(2)
        site.clock.advance(2.1)
        assert b" 408 " in await client.rest()


async def test_a_connection_is_kept_between_requests_and_not_longer_than_it_is_told() -> None:
    async with serving(App(), header_timeout=20, idle_timeout=75) as site:
        client = await site.connect(GET)
        await client.until(b"\r\n\r\n")
        site.clock.advance(74)
        await client.send(GET)
        await client.until(b"\r\n\r\n")
        site.clock.advance(75.1)
        assert await client.rest() == b""
        assert site.reasons == ["idle_timeout"]


@pytest.mark.parametrize("part", [b"\r\n", b"G", GET[:-1]])
async def test_half_a_head_after_a_request_is_late_too(part: bytes) -> None:
    async with serving(App(), header_timeout=20, idle_timeout=75) as site:
        client = await site.connect(GET)
        await client.until(b"\r\n\r\n")
        await client.send(part)
        await turns(lambda: site.only._overhead > 0)
        site.clock.advance(20.1)
        answer = await client.rest()
        assert answer == b"" or b" 408 " in answer
        client.close()
        await turns(lambda: bool(site.reasons))
        assert site.reasons == ["header_timeout"]


async def test_the_rest_of_a_body_that_nobody_read_is_not_waited_for_long() -> None:
    async with serving(App(), header_timeout=20) as site:
        client = await site.connect(post("/unread", "content-length: 10", body=b"12345"))
        await client.until(b"unread")
        for _ in range(3):
            await client.send(b"6")
            site.clock.advance(5)
            await asyncio.sleep(0)
        site.clock.advance(6)
        assert await client.rest() == b""
        assert site.reasons == ["header_timeout"]


async def test_a_body_that_nobody_read_may_end_and_another_request_follow() -> None:
    async with serving(App(), header_timeout=20, idle_timeout=75) as site:
        client = await site.connect(post("/unread", "content-length: 10", body=b"12345"))
        await client.until(b"unread")
        await client.send(b"67890")
        await turns(lambda: not site.only._in_message)
        site.clock.advance(74)
        await client.send(GET)
        await client.until(b"200 OK")


async def test_a_request_in_progress_has_no_deadline_here() -> None:
    app = App()
    async with serving(app, header_timeout=20, idle_timeout=75) as site:
        client = await site.connect(post("/wait"))
        await turns(app.entered.is_set)
        assert site.connections.waiting == 0
        site.clock.advance(1000)
        await asyncio.sleep(0)
        app.go_on.set()
        await client.until(b"waited")
        assert site.connections.waiting == 1


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\nx-big: ", b"GET /", b"x", b"GET / HTTP/1.1\r\n"])
async def test_a_head_without_end_is_refused_before_it_is_kept(head: bytes) -> None:
    async with serving(App(), max_header_bytes=4096) as site:
        client = await site.connect(head + b"a" * 300_000)
        answer = await client.rest()
        if head == b"x":
            assert error_of(answer)["code"] == "malformed_request"
            return
        assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
        error = error_of(answer)
        assert error["code"] == "headers_too_large"
        assert "4096 bytes (max_header_bytes)" in error["message"]
        client.close()
        await turns(lambda: bool(site.reasons))
        assert site.reasons == ["headers_too_large"]


async def test_a_flood_of_headers_is_cut() -> None:
    app = App()
    async with serving(app) as site:
        client = await site.connect(b"GET / HTTP/1.1\r\n")
        block = b"".join(b"x-%05d: " % number + b"a" * 1000 + b"\r\n" for number in range(1000))
        sent = 0
        try:
            while sent < 100 * len(block):
                await client.send(block)
                sent += len(block)
        except ConnectionError:
            pass
        # what fits into the buffers on the way, and what is read to let the answer through
        assert sent < 20 * LINGER_BYTES
        await turns(lambda: bool(site.reasons))
        assert site.reasons == ["headers_too_large"] and app.scopes == []


async def test_the_number_of_headers_is_bounded() -> None:
    async with serving(App(), max_headers=20) as site:
        for count in (20, 21):
            client = await site.connect()
            lines = "".join(f"x-{number}: {number}\r\n" for number in range(count))
            await client.send(
                f"GET / HTTP/1.1\r\n{lines}connection: close\r\n\r\n".encode()
                if count > 20
                else f"GET / HTTP/1.1\r\n{lines}\r\n".encode()
            )
            answer = await client.until(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200" if count == 20 else b"HTTP/1.1 431")
        error = error_of(answer + await client.rest())
        assert "20 headers (max_headers)" in error["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"3\r\nabc\r\n0\r\nx-trailer: " + b"a" * 300_000,
        b"3\r\nabc\r\n0\r\n" + b"x: y\r\n" * 60_000,
        b"3;extension=" + b"a" * 300_000,
    ],
    ids=["a trailer", "many trailers", "a chunk's extension"],
)
async def test_what_stands_between_a_bodys_bytes_is_bounded(body: bytes) -> None:
    app = App()
    async with serving(app, max_header_bytes=4096) as site:
        client = await site.connect(post("/", "transfer-encoding: chunked", body=body))
        assert error_of(await client.rest())["code"] == "headers_too_large"
        await turns(lambda: bool(app.ended))
        assert app.ended == ["disconnected"]
        client.close()


async def test_a_trailer_is_no_header() -> None:
    app = App()
    async with serving(app) as site:
        trailer = b"3\r\nabc\r\n0\r\nx-trailer: 1\r\n\r\n"
        client = await site.connect(post("/", "transfer-encoding: chunked", body=trailer))
        await client.until(b"abc")
        assert [name for name, _ in app.scopes[0]["headers"]] == [b"host", b"transfer-encoding"]


async def test_long_bodies_and_requests_in_a_row_pass_whole() -> None:
    body = bytes(range(256)) * 4000
    async with serving(App(), max_header_bytes=1024) as site:
        request = post("/", f"content-length: {len(body)}", body=body)
        client = await site.connect()
        sending = asyncio.create_task(client.send(request + request + GET))
        read = b""
        while read.count(b"HTTP/1.1 200 OK") < 3:
            read += await client.some()
        await sending
        assert read.count(body) == 2


async def test_an_upgrade_is_ignored() -> None:
    async with serving(App()) as site:
        upgrade = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        client = await site.connect(upgrade + GET)
        read = b""
        while read.count(b"HTTP/1.1 200 OK") < 2:
            data = await client.some()
            assert data
            read += data


async def test_what_is_not_http_is_told_so_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with serving(App()) as site:
            caplog.clear()
            client = await site.connect(b"\x16\x03\x01\x02\x00\r\n\r\n")
            answer = await client.rest()
            assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
            assert error_of(answer)["code"] == "malformed_request"
            client.close()
            await turns(lambda: bool(site.reasons))
            assert site.reasons == ["malformed"]
            assert caplog.messages == []


async def test_requests_that_wait_for_one_another_are_bounded() -> None:
    app = App()
    async with serving(app) as site:
        client = await site.connect(post("/wait") + GET * MOST_PIPELINED)
        await turns(app.entered.is_set)
        await turns(lambda: len(site.only.pipeline) == MOST_PIPELINED)
        await client.send(GET)
        # an answer is on its way: nothing can be said before it
        assert await client.rest() == b""
        await turns(lambda: bool(app.ended))
        assert (app.ended, site.reasons) == (["http.disconnect"], ["pipeline_too_long"])


async def test_whoever_leaves_with_a_request_in_waiting_ends_the_one_in_progress() -> None:
    app = App()
    async with serving(app) as site:
        client = await site.connect(post("/wait") + GET)
        await turns(lambda: len(site.accepted) == 1 and len(site.only.pipeline) == 1)
        client.close()
        await turns(lambda: bool(app.ended))
        assert (app.ended, site.reasons) == (["http.disconnect"], ["client"])
        assert len(app.scopes) == 1


async def test_a_stream_that_is_not_read_is_cut() -> None:
    app = App()
    async with serving(app, write_timeout=30) as site:
        client = await site.connect(post("/endless"), receive_buffer=4096)
        await turns(lambda: bool(site.accepted) and site.only.flow.write_paused)
        await site.passes(30, lambda: bool(app.ended))
        assert (app.ended, site.reasons) == (["http.disconnect"], ["write_timeout"])
        client.close()


async def test_it_is_no_byte_at_all_that_cuts_a_stream() -> None:
    app = App()
    async with serving(app, write_timeout=30) as site:
        client = await site.connect(post("/endless"), receive_buffer=4096)
        await turns(lambda: bool(site.accepted) and site.only.flow.write_paused)
        left = site.only.transport.get_write_buffer_size()
        # a client whose reading empties the buffer by one byte in a while
        site.only.transport.get_write_buffer_size = lambda: left  # type: ignore[method-assign]
        for _ in range(5):
            left -= 1
            site.clock.advance(30)
            for _ in range(4):
                await asyncio.sleep(0)
            assert site.reasons == []
        await site.passes(30, lambda: bool(site.reasons))
        assert site.reasons == ["write_timeout"]
        client.close()


async def test_a_stream_that_is_read_slowly_goes_on() -> None:
    app = App()
    async with serving(app, write_timeout=30) as site:
        client = await site.connect(post("/endless"), receive_buffer=4096)
        for _ in range(10):
            await turns(lambda: site.only.flow.write_paused)
            before = site.only.transport.get_write_buffer_size()
            while site.only.transport.get_write_buffer_size() >= before:
                await client.some()
                await asyncio.sleep(0)
            site.clock.advance(29)
            await asyncio.sleep(0)
        assert app.ended == [] and site.reasons == []


@pytest.mark.parametrize("header", ["connection: close", "x: y"])
async def test_an_answer_in_one_piece_that_is_not_read_is_cut(header: str) -> None:
    app = App()
    async with serving(app, write_timeout=30, idle_timeout=10_000) as site:
        client = await site.connect(post(f"/long?{8 * 1024**2}", header), receive_buffer=4096)
        await turns(app.entered.is_set)
        await turns(lambda: site.only.transport.get_write_buffer_size() > 0)
        await site.passes(30, lambda: bool(site.reasons))
        assert site.reasons == ["write_timeout"]
        client.close()


async def test_the_application_can_end_a_connection_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
        scope["extensions"][ABORT]()  # type: ignore[index]

    async with serving(app) as site:  # type: ignore[arg-type]
        caplog.clear()
        client = await site.connect(GET)
        await client.rest()
        assert site.reasons == ["deadline"]
        assert caplog.messages == []


async def test_a_refusal_says_the_last_word_to_a_client_that_waits_to_send_its_body(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = App()
    async with serving(app) as site:
        caplog.clear()
        waiting = post("/", "expect: 100-continue", "transfer-encoding: chunked", body=b"no size\r\n")
        client = await site.connect(waiting)
        answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 400") and b"100 Continue" not in answer
        await turns(lambda: bool(app.ended))
        assert app.ended == ["disconnected"] and caplog.messages == []


async def test_a_connection_that_ended_is_no_garbage_in_a_circle() -> None:
    async with serving(App()) as site:
        client = await site.connect(GET)
        await client.until(b"200 OK")
        connection = ref(site.only)
        gc.collect()
        gc.disable()
        try:
            client.close()
            await turns(lambda: bool(site.reasons))
            await turns(lambda: connection() is None)
        finally:
            gc.enable()

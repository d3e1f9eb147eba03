"""The fetcher against real servers on loopback: what is delivered, what is refused, and what is never contacted."""

from __future__ import annotations

import asyncio
import re
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from service import __version__
from service.domain import Detail, ImageRef
from service.errors import FetchCause, ImageError, ImageTooLarge, MediaFetchFailed, URLNotAllowed
from service.ingest.encoding import decoder
from service.ingest.fetch import Fetcher, FetchLimits
from service.ingest.guard import URLPolicy
from tests.waiting import LoopClock, until

pytestmark = pytest.mark.anyio

PATH = "messages[0].content[1].image_url.url"
OPEN = URLPolicy(allow_private=True)
Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A TCP server that answers each request with `answer` and counts what reaches it."""

    def __init__(self) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self.gone = asyncio.Event()
        self.port = 0

    def url(self, path: str = "/image.png", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"


@asynccontextmanager
async def serving(
    answer: Answer | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Server]:
    state = Server()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        try:
            while head := await read_head(reader):
                state.requests.append(head)
                if answer is not None:
                    await answer(head, writer)
        except ConnectionError:
            pass
        finally:
            state.gone.set()
            writer.close()

    server = await asyncio.start_server(serve, host, port)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()


async def read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def reply(body: bytes = b"", status: str = "200 OK", *headers: str, length: int | None = None) -> Answer:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        await writer.drain()

    return answer


def raw(data: bytes, *, close: bool = False) -> Answer:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if close:
            writer.close()

    return answer


def redirect(*locations: str) -> Answer:
    """Redirects from /0 to locations[0], from /1 to locations[1], …; anything else is an image."""

    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        step = head.split()[1].removeprefix(b"/").decode()
        if step.isdigit() and int(step) < len(locations):
            await reply(b"moved", "302 Found", f"Location: {locations[int(step)]}")(head, writer)
        else:
            await reply(b"image")(head, writer)

    return answer


@asynccontextmanager
async def fetching(
    policy: URLPolicy = OPEN, lookup: Any = None, agent: str | None = None, **limits: Any
) -> AsyncIterator[Callable[[str], Any]]:
    given = {"lookup": lookup, "user_agent": agent}
    options: Any = {name: value for name, value in given.items() if value is not None}
    fetcher = Fetcher(policy, FetchLimits(**limits), **options)
    try:
        yield lambda url: fetcher.fetch(ImageRef(url, Detail.AUTO, 0, 0, PATH))
    finally:
        await fetcher.close()


async def refused(
    fetch: Callable[[str], Any],
    url: str,
    error: type[ImageError],
    words: str | None = None,
    cause: FetchCause | None = None,
) -> None:
    with pytest.raises(error, match=words) as caught:
        await fetch(url)
    assert caught.value.param == PATH
    assert cause is None or caught.value.cause is cause
    assert not re.search(r"0x[0-9a-f]{6,}|Errno|127\.0\.0\.1", caught.value.message)


def resolving_to(*answers: str) -> tuple[Callable[..., list[tuple[Any, ...]]], list[str]]:
    """A name server that gives the answers one after the other, and the names that it was asked for."""
    coming, asked = list(answers), []

    def lookup(host: str, port: int, *_: Any) -> list[tuple[Any, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (coming.pop(0), port))]

    return lookup, asked


async def test_the_body_comes_whatever_its_declared_type_and_framing() -> None:
    body = bytes(range(256)) * 3000
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/html\r\n\r\n"
    chunked += b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    until_close = b"HTTP/1.1 200 OK\r\n\r\n" + body
    for answer in (
        reply(body, "200 OK", "Content-Type: image/png"),
        raw(chunked),
        raw(until_close, close=True),
    ):
        async with serving(answer) as server, fetching() as fetch:
            assert await fetch(server.url()) == body


async def test_the_request_is_plain_and_keeps_the_url_byte_for_byte() -> None:
    async with serving(reply(b"x", "200 OK", "Set-Cookie: a=b")) as server, fetching() as fetch:
        await fetch(server.url("/a%2Fb/../c?sig=%2b+%7E#part"))
        await fetch(server.url(""))
    first, second = server.requests
    assert first.startswith(b"GET /a%2Fb/../c?sig=%2b+%7E HTTP/1.1\r\n")
    assert second.startswith(b"GET / HTTP/1.1\r\n")
    assert b"Accept-Encoding: identity" in first
    assert not re.search(rb"(?i)cookie|authorization|referer", second)
    assert server.connections == 1, "a body read to its end leaves its connection for the next image"


CANARY_URLS = [
    "http://127.0.0.1:{port}/",
    "http://127.0.0.2:{port}/",
    "http://localhost:{port}/",
    "http://0.0.0.0:{port}/",
    "http://[::1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://127.1:{port}/",
    "http://１２７.0.0.1:{port}/",
    "http://ⓛocalhost:{port}/",
    "http://localhost.:{port}/",
    "http://user@127.0.0.1:{port}/",
    "http://good.example\\@127.0.0.1:{port}/",
    "http://good.example@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\t/",
    "http://intranet.svc.cluster.local:{port}/",
    "ftp://127.0.0.1:{port}/",
    "file://127.0.0.1:{port}/etc/passwd",
]


@pytest.mark.parametrize("url", CANARY_URLS)
async def test_no_connection_reaches_a_private_address(url: str) -> None:
    lookup, _ = resolving_to("127.0.0.1")
    async with serving(reply(b"secret")) as canary, fetching(URLPolicy(), lookup) as fetch:
        await refused(fetch, url.format(port=canary.port), URLNotAllowed, cause=FetchCause.REFUSED)
    assert canary.connections == 0


async def test_the_canary_would_have_seen_a_connection() -> None:
    async with serving(reply(b"secret")) as canary, fetching() as fetch:
        await fetch(f"http://localhost:{canary.port}/")
    assert canary.connections == 1


async def test_the_address_that_was_checked_is_the_one_contacted() -> None:
    lookup, asked = resolving_to("127.0.0.1", "127.0.0.2")
    async with (
        serving(reply(b"checked")) as server,
        serving(reply(b"rebound"), "127.0.0.2", server.port) as canary,
        fetching(OPEN, lookup) as fetch,
    ):
        assert await fetch(f"http://rebind.example:{server.port}/") == b"checked"
    assert asked == ["rebind.example"]
    assert canary.connections == 0
    assert b"Host: rebind.example" in server.requests[0]


async def test_a_name_that_turns_forbidden_is_refused_at_the_next_fetch() -> None:
    lookup, asked = resolving_to("127.0.0.1", "169.254.169.254")
    async with serving(reply(b"x", "200 OK", "Connection: close")) as server, fetching(OPEN, lookup) as fetch:
        url = f"http://rebind.example:{server.port}/"
        assert await fetch(url) == b"x"
        await refused(fetch, url, URLNotAllowed, "public internet")
    assert len(asked) == 2


async def test_redirects_are_followed_up_to_their_number() -> None:
    chain = ["/1", "2", "/3", "/4"]
    async with serving(redirect(*chain)) as server, fetching(redirects=3) as fetch:
        assert await fetch(server.url("/1")) == b"image"
        before = len(server.requests)
        words = "more than 3 times .*fetch_redirects"
        await refused(fetch, server.url("/0"), URLNotAllowed, words, FetchCause.REDIRECT)
        assert len(server.requests) == before + 4


@pytest.mark.parametrize("hops", [0, 2])
async def test_a_redirect_to_a_forbidden_place_ends_there(hops: int) -> None:
    policy = URLPolicy(allow_private=True, allowed_hosts=("127.0.0.1",))
    async with serving(reply(b"secret")) as canary:
        for target in (
            f"http://localhost:{canary.port}/",
            f"http://127.0.0.2:{canary.port}/",
            f"//user@127.0.0.1:{canary.port}/",
            "http://169.254.169.254/latest/meta-data/",
            "file:///etc/passwd",
            "http://[::1]/",
        ):
            chain = [f"/{step + 1}" for step in range(hops)] + [target]
            async with serving(redirect(*chain)) as server, fetching(policy) as fetch:
                await refused(fetch, server.url("/0"), URLNotAllowed)
                assert len(server.requests) == hops + 1
    assert canary.connections == 0


async def test_a_redirect_is_resolved_and_judged_anew() -> None:
    lookup, asked = resolving_to("127.0.0.1", "169.254.1.1")
    async with serving(redirect("http://inner.example/")) as server, fetching(OPEN, lookup) as fetch:
        await refused(fetch, f"http://outer.example:{server.port}/0", URLNotAllowed, "public internet")
    assert asked == ["outer.example", "inner.example"]


async def test_a_redirect_may_not_change_to_a_port_outside_the_list() -> None:
    async with serving(reply(b"secret")) as canary, serving(redirect(canary.url())) as server:
        policy = URLPolicy(allow_private=True, allowed_ports=frozenset({server.port}))
        async with fetching(policy) as fetch:
            await refused(fetch, server.url("/0"), URLNotAllowed, f"Port {canary.port}")
    assert canary.connections == 0


@pytest.mark.parametrize(
    ("answer", "words", "cause"),
    [
        (reply(b"secret", "401 Unauthorized"), "answered with status 401", "4xx"),
        (reply(b"secret", "404 secret"), "answered with status 404", "4xx"),
        (reply(b"secret", "429 Too Many Requests"), "answered with status 429", "4xx"),
        (reply(b"secret", "503 Unavailable"), "answered with status 503", "5xx"),
        (reply(b"secret", "206 Partial Content"), "answered with status 206", "other_status"),
        (reply(b"", "304 Not Modified"), "answered with status 304", "other_status"),
        (reply(b"", "302 Found"), "answered with status 302, a redirect", "redirect"),
        (raw(b"secret, no HTTP\r\n\r\n", close=True), "answer with valid HTTP", "protocol"),
        (raw(b"", close=True), "closed the connection early", "protocol"),
        (
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsecret", close=True),
            "closed the connection early",
            "protocol",
        ),
        (
            raw(b"HTTP/1.1 200 OK\r\nX: " + b"secret" * 20_000, close=True),
            "answer with valid HTTP",
            "protocol",
        ),
        (
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nsecret", close=True),
            "answer with valid HTTP",
            "protocol",
        ),
    ],
)
async def test_a_server_that_does_not_deliver_is_told_in_our_words(
    answer: Answer, words: str, cause: str
) -> None:
    async with serving(answer) as server, fetching() as fetch:
        with pytest.raises(MediaFetchFailed, match=words) as caught:
            await fetch(server.url())
    assert caught.value.param == PATH and caught.value.code == "media_fetch_failed"
    assert caught.value.cause == cause
    assert "secret" not in caught.value.message


async def test_a_body_that_a_proxy_has_changed_is_a_body() -> None:
    async with serving(reply(b"image", "203 Non-Authoritative Information")) as server, fetching() as fetch:
        assert await fetch(server.url()) == b"image"


@pytest.mark.parametrize(
    "label",
    ["", "identity", "utf-8", "base64", "aws-chunked", "binary", "none", "identity, aws-chunked", "?"],
)
async def test_a_label_that_encodes_nothing_changes_nothing(label: str) -> None:
    header = f"Content-Encoding: {label}"
    async with serving(reply(b"image", "200 OK", header)) as server, fetching() as fetch:
        assert await fetch(server.url()) == b"image"


BODY = bytes(range(256)) * 2000


def deflated(data: bytes, window: int) -> bytes:
    packer = zlib.compressobj(wbits=window)
    return packer.compress(data) + packer.flush()


GZIP, ZLIB, RAW = 31, 15, -15


@pytest.mark.parametrize(
    ("label", "window"),
    [("gzip", GZIP), ("X-GZip", GZIP), ("deflate", ZLIB), ("deflate", RAW), ("aws-chunked,gzip", GZIP)],
)
async def test_a_compressed_body_is_decompressed_although_it_was_not_asked_for(
    label: str, window: int
) -> None:
    packed = deflated(BODY, window)
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in packed)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {label}\r\nTransfer-Encoding: chunked\r\n\r\n"
    in_single_bytes = raw(head.encode() + chunks + b"0\r\n\r\n")
    for answer in (reply(packed, "200 OK", f"Content-Encoding: {label}"), in_single_bytes):
        async with serving(answer) as server, fetching(max_bytes=len(BODY)) as fetch:
            assert await fetch(server.url()) == BODY


async def test_a_bomb_is_inflated_no_further_than_the_bound() -> None:
    bomb = deflated(bytes(200_000_000), GZIP)
    assert len(bomb) < 200_000
    taken: list[int] = []
    async with serving(reply(bomb, "200 OK", "Content-Encoding: gzip")) as server:
        fetcher = Fetcher(OPEN, FetchLimits(max_bytes=1_000_000))
        with pytest.raises(ImageTooLarge, match="1000000 bytes .*max_image_bytes") as caught:
            await fetcher.fetch(ImageRef(server.url(), Detail.AUTO, 0, 0, PATH), taken.append)
        await fetcher.close()
    assert caught.value.param == PATH
    assert sum(taken) <= 1_000_000


def test_an_inflater_gives_one_byte_more_than_the_bound_and_stops() -> None:
    inflater = decoder(["gzip"], 1000)
    assert len(inflater.feed(deflated(bytes(10_000_000), GZIP))) == 1001
    assert inflater.feed(b"more") == b""


@pytest.mark.parametrize(
    ("label", "body", "words"),
    [
        ("br", b"secret", "Content-Encoding br, although it was not asked to compress"),
        ("zstd", b"secret", "Content-Encoding zstd"),
        ("gzip, gzip", b"secret", "compressed more than once"),
        ("gzip", b"secret", r"not what its Content-Encoding \(gzip\) says"),
        ("gzip", deflated(BODY, GZIP)[:-9], "ends too early"),
        ("gzip", b"\x1f", "ends too early"),
        ("deflate", b"", "ends too early"),
    ],
)
async def test_an_encoding_that_cannot_be_decoded_is_named(label: str, body: bytes, words: str) -> None:
    async with serving(reply(body, "200 OK", f"Content-Encoding: {label}")) as server, fetching() as fetch:
        await refused(fetch, server.url(), MediaFetchFailed, words, FetchCause.ENCODING)


async def test_it_names_itself_and_its_version_unless_it_is_told_a_name() -> None:
    contact = "patchbay (+https://example.com/bot; bot@example.com)"
    async with serving(reply(b"x")) as server:
        for agent, sent in ((None, f"patchbay/{__version__}"), (contact, contact)):
            async with fetching(agent=agent) as fetch:
                await fetch(server.url())
            assert f"\r\nUser-Agent: {sent}\r\n".encode() in server.requests[-1]


async def test_blanks_in_a_redirect_are_taken_as_browsers_take_them() -> None:
    async with serving(redirect("/my image.png")) as server, fetching() as fetch:
        assert await fetch(server.url("/0")) == b"image"
    assert server.requests[-1].startswith(b"GET /my%20image.png HTTP/1.1\r\n")


async def test_a_server_that_is_not_there_is_a_failed_fetch() -> None:
    async with serving() as server:
        url = server.url()
    async with fetching() as fetch:
        await refused(fetch, url, MediaFetchFailed, "could not be reached", FetchCause.CONNECT)


async def test_a_server_without_tls_is_told_so() -> None:
    async with serving(raw(b"HTTP/1.1 200 OK\r\n\r\n")) as server, fetching() as fetch:

        async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        tls = await asyncio.start_server(plain, "127.0.0.1", 0)
        port = tls.sockets[0].getsockname()[1]
        await refused(
            fetch, f"https://127.0.0.1:{port}/", MediaFetchFailed, "secure connection", FetchCause.TLS
        )
        tls.close()
    assert server.connections == 0


async def test_the_byte_cap_is_inclusive_and_holds_for_both_framings() -> None:
    for size, allowed in ((1000, True), (1001, False)):
        body = bytes(size)
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (size, body)
        for answer in (reply(body), raw(chunked)):
            async with serving(answer) as server, fetching(max_bytes=1000) as fetch:
                if allowed:
                    assert await fetch(server.url()) == body
                else:
                    await refused(fetch, server.url(), ImageTooLarge, "1000 bytes .*max_image_bytes")


async def test_a_declared_length_above_the_cap_is_refused_before_the_body() -> None:
    async with serving(reply(b"", length=10**12)) as server, fetching(max_bytes=1000) as fetch:
        await refused(fetch, server.url(), ImageTooLarge, "max_image_bytes")
        await server.gone.wait()


async def test_an_endless_body_ends_at_the_cap() -> None:
    async def endless(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1000\r\n" + bytes(4096) + b"\r\n")
            await writer.drain()

    async with serving(endless) as server, fetching(max_bytes=100_000) as fetch:
        await refused(fetch, server.url(), ImageTooLarge, "max_image_bytes")
        await server.gone.wait()


async def test_silence_ends_at_the_deadline() -> None:
    asked = asyncio.Event()

    async def silent(*_: object) -> None:
        asked.set()

    async with serving(silent) as server, fetching(timeout=60) as fetch:
        clock = LoopClock()
        fetching_it = refused(
            fetch, server.url(), MediaFetchFailed, "within 60 seconds .*fetch_timeout", FetchCause.TIMEOUT
        )
        task = asyncio.create_task(fetching_it)
        await asked.wait()
        clock.advance(61)
        await task
        await server.gone.wait()


async def test_the_deadline_covers_all_hops_and_the_name() -> None:
    holding = asyncio.Event()
    loop = asyncio.get_running_loop()

    def lookup(*_: Any) -> list[tuple[Any, ...]]:
        asyncio.run_coroutine_threadsafe(holding.wait(), loop).result()
        return []

    async with fetching(OPEN, lookup, timeout=0.05) as fetch:
        await refused(fetch, "http://slow.example/", MediaFetchFailed, "fetch_timeout")
        holding.set()


async def test_a_drip_is_given_up_long_before_the_deadline() -> None:
    drip = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + bytes(10))
    async with serving(drip) as server, fetching(timeout=3600, slow_grace=0.05) as fetch:
        await refused(fetch, server.url(), MediaFetchFailed, "too slowly", FetchCause.TOO_SLOW)
        await server.gone.wait()


async def hold(head: bytes, writer: asyncio.StreamWriter) -> None:
    """Never answers."""


async def test_slow_servers_of_one_caller_leave_connections_to_others() -> None:
    limits = FetchLimits(connections=4, connections_per_host=4, connections_per_caller=3, timeout=300)
    fetcher = Fetcher(OPEN, limits)

    def fetch(server: Server, caller: str) -> asyncio.Task[bytes]:
        ref = ImageRef(server.url(), Detail.AUTO, 0, 0, PATH)
        return asyncio.create_task(fetcher.fetch(ref, caller=caller))

    async with serving(hold) as slow, serving(hold) as slower, serving(reply(b"image")) as good:
        greedy = [fetch(server, "greedy") for server in (slow, slower) * 4]
        await until(lambda: len(slow.requests) + len(slower.requests) == 3)
        for _ in range(5):
            assert await fetch(good, "polite") == b"image"
        assert len(slow.requests) + len(slower.requests) == 3
        greedy[0].cancel()
        await until(lambda: len(slow.requests) + len(slower.requests) == 4)
        for each in greedy:
            each.cancel()
        await asyncio.wait(greedy)
        # all turns were given back
        assert [await fetch(good, "greedy") for _ in range(5)] == [b"image"] * 5
    await fetcher.close()


async def test_waiting_for_the_turn_of_ones_own_key_is_no_time_of_the_fetch() -> None:
    fetcher = Fetcher(OPEN, FetchLimits(connections_per_caller=1, timeout=10))
    async with serving(hold) as slow, serving(reply(b"image")) as good:
        first = asyncio.create_task(fetcher.fetch(ImageRef(slow.url(), Detail.AUTO, 0, 0, PATH), caller="a"))
        await until(lambda: bool(slow.requests))
        clock = LoopClock()
        second = asyncio.create_task(fetcher.fetch(ImageRef(good.url(), Detail.AUTO, 0, 0, PATH), caller="a"))
        clock.advance(11)
        with pytest.raises(MediaFetchFailed, match="fetch_timeout"):
            await first
        assert await second == b"image"
    await fetcher.close()


async def test_where_no_keys_are_required_one_may_have_all_connections() -> None:
    fetcher = Fetcher(OPEN, FetchLimits(connections=4, connections_per_caller=1))
    async with serving(hold) as slow:
        ref = ImageRef(slow.url(), Detail.AUTO, 0, 0, PATH)
        tasks = [asyncio.create_task(fetcher.fetch(ref)) for _ in range(4)]
        await until(lambda: len(slow.requests) == 4)
        for each in tasks:
            each.cancel()
        await asyncio.wait(tasks)
    await fetcher.close()


async def test_time_is_granted_by_the_bytes_that_came() -> None:
    """At one byte a second the ten bytes already sent buy ten seconds, so the deadline strikes first."""
    drip = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + bytes(10))
    async with serving(drip) as server, fetching(timeout=0.2, slow_grace=0.05, min_rate=1.0) as fetch:
        await refused(fetch, server.url(), MediaFetchFailed, "fetch_timeout")


async def test_a_cancelled_fetch_closes_its_connection() -> None:
    asked = asyncio.Event()

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        asked.set()

    async with serving(answer) as server, fetching() as fetch:
        task = asyncio.ensure_future(fetch(server.url()))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.gone.wait()


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(reply(b"proxied")) as proxy, serving(reply(b"direct")) as server, fetching() as fetch:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        assert await fetch(server.url()) == b"direct"
    assert proxy.connections == 0


async def test_many_fetches_at_once_get_their_own_bodies() -> None:
    async def echo(head: bytes, writer: asyncio.StreamWriter) -> None:
        await reply(head.split()[1])(head, writer)

    async with serving(echo) as server, fetching(connections_per_host=4) as fetch:
        bodies = await asyncio.gather(*(fetch(server.url(f"/{number}")) for number in range(40)))
    assert bodies == [f"/{number}".encode() for number in range(40)]
    assert server.connections <= 4

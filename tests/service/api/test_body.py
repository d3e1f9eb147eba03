import asyncio
import codecs
import json

import pytest
from starlette.requests import Request

from service.api.body import parse_json, read_body
from service.api.limits import RequestLimits
from service.errors import BodyTimeout, BodyTooLarge, InvalidRequest
from tests.service.api.fakes import Call
from tests.waiting import DEADLOCK

pytestmark = pytest.mark.anyio
LIMITS = RequestLimits(max_body_bytes=10, max_json_depth=4, max_json_values=20)


async def read(*chunks: bytes, limits: RequestLimits = LIMITS, **headers: str) -> tuple[bytes, int]:
    """The body, and how many messages were taken from the server."""
    taken: list[bytes] = []

    async def app(scope: object, receive: object, send: object) -> None:
        taken.append(await read_body(Request(call.scope, receive), limits))  # type: ignore[arg-type]

    call = Call(app, "/", *chunks, **headers)
    await call.run()
    return taken[0], call.received


async def test_a_body_in_pieces() -> None:
    assert await read(b"12345", b"", b"67890") == (b"1234567890", 3)


async def test_the_header_alone_refuses() -> None:
    with pytest.raises(BodyTooLarge, match="has 11 bytes; at most 10 "):
        await read(b"", content_length="11")


async def test_nothing_is_read_beyond_the_cap() -> None:
    call = Call(None, "/", b"123456", b"123456", b"never")  # type: ignore[arg-type]
    with pytest.raises(BodyTooLarge, match="has more than 10 bytes"):
        await read_body(Request(call.scope, call._receive), LIMITS)
    assert call.received == 2


async def test_a_header_that_lies_does_not_help() -> None:
    with pytest.raises(BodyTooLarge):
        await read(b"12345678901", content_length="5")


async def test_a_body_that_never_ends() -> None:
    async def nothing() -> dict[str, str]:
        await asyncio.Event().wait()
        raise AssertionError

    request = Request(Call(None, "/").scope, nothing)  # type: ignore[arg-type]
    with pytest.raises(BodyTimeout, match=r"after 0.01 seconds; 0 bytes.*body_timeout"):
        async with asyncio.timeout(DEADLOCK):
            await read_body(request, RequestLimits(body_timeout=0.01))


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
async def test_only_json_by_its_header(content_type: str) -> None:
    with pytest.raises(InvalidRequest, match="Content-Type must be application/json"):
        await read(b"{}", content_type=content_type)


async def test_a_charset_beside_the_type() -> None:
    assert await read(b"{}", content_type="Application/JSON; charset=utf-8") == (b"{}", 1)


async def test_compressed_bodies_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="Content-Encoding.*'gzip'"):
        await read(b"{}", content_encoding="gzip")


@pytest.mark.parametrize(
    "body, words",
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"{} {}", "not valid JSON"),
        (b"[NaN]", "not valid JSON"),
        (b"[-Infinity]", "not valid JSON"),
        (b'"\xff"', "not valid JSON"),
        (b'"\xed\xa0\x80"', "not valid JSON"),
        (b'"\\ud800"', "not valid JSON"),
        (b"\xff\xfe{\x00}\x00", "not valid JSON"),
        (b"9" * 5000, "not valid JSON"),
        (b'{"a":[0,1e999]}', r"a\[1\] is a number too large"),
        (b'{"a":{"b c":18446744073709551616}}', r"a\['b c'\] is an integer that does not fit in 64 bits"),
        (b"18446744073709551616", "The body is an integer that does not fit in 64 bits"),
        (b"[[[[[]]]]]", r"\[0\]\[0\]\[0\]\[0\] is nested deeper than 4"),
        (b"[" + b"0," * 20 + b"0]", "21 commas and opening brackets; at most 20"),
        (b"[" * 100_000, "100000 commas and opening brackets"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_json_that_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        parse_json(body, LIMITS)


@pytest.mark.parametrize(
    "body", [b"[[[[]]]]", b"-9223372036854775808", b"18446744073709551615", b'"\\ud83d\\ude00"', b"1e308"]
)
async def test_json_that_is_taken(body: bytes) -> None:
    assert parse_json(body, LIMITS) == json.loads(body)


async def test_a_byte_order_mark_is_passed_over() -> None:
    assert parse_json(codecs.BOM_UTF8 + b'{"a": "\xef\xbb\xbf"}', RequestLimits()) == {"a": "\ufeff"}


async def test_commas_within_a_text_count_only_in_large_bodies() -> None:
    assert parse_json(b'",,,,,,,,,,,,,,,"', LIMITS) == "," * 15

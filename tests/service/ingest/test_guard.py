"""The guard: one parse, one reading of the host, and a resolver that refuses a host for any of its addresses."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from service.errors import FetchCause, MediaFetchFailed, URLNotAllowed
from service.ingest.addresses import may_contact
from service.ingest.guard import GuardedResolver, ParsedURL, URLPolicy, check_url, follow, named_host

PATH = "messages[0].content[1].image_url.url"
PUBLIC = URLPolicy()
PRIVATE = URLPolicy(allow_private=True)


def check(url: str, policy: URLPolicy = PUBLIC) -> ParsedURL:
    return check_url(url, policy, PATH)


@pytest.mark.parametrize(
    ("url", "fetched", "host", "port"),
    [
        ("http://example.com/a.png", "http://example.com/a.png", "example.com", 80),
        ("HTTPS://EXAMPLE.com:8443/a", "https://EXAMPLE.com:8443/a", "example.com", 8443),
        ("https://example.com", "https://example.com", "example.com", 443),
        ("http://a_b.example-c.com/", "http://a_b.example-c.com/", "a_b.example-c.com", 80),
        ("http://good.com#@evil.com/", "http://good.com", "good.com", 80),
        ("http://good.com/#fragment", "http://good.com/", "good.com", 80),
        ("http://good.com?@evil.com/", "http://good.com/?@evil.com/", "good.com", 80),
        ("http://bücher.example/ä", "http://xn--bcher-kva.example/%C3%A4", "xn--bcher-kva.example", 80),
        ("http://8.8.8.8:1/x", "http://8.8.8.8:1/x", "8.8.8.8", 1),
        ("http://good.com/my own%2F.png?a b \n", "http://good.com/my%20own%2F.png?a%20b", "good.com", 80),
        ("http://good.com/an ä", "http://good.com/an%20%C3%A4", "good.com", 80),
        ("http://[2606:2800::1]:80/", "http://[2606:2800::1]/", "2606:2800::1", 80),
        # signatures are computed over exact bytes
        ("http://e.com/a%2Fb/../c?s=%2b+%7E&t=a/b", "http://e.com/a%2Fb/../c?s=%2b+%7E&t=a/b", "e.com", 80),
    ],
)
def test_urls_that_pass_are_fetched_as_they_were_read(url: str, fetched: str, host: str, port: int) -> None:
    parsed = check(url)
    assert (str(parsed.url), parsed.host, parsed.port) == (fetched, host, port)
    assert named_host(url) == host


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://10.0.0.1/a?secret", "10.0.0.1"),
        ("http://me:secret@inside.example/secret#secret", "inside.example"),
        ("http://good.com\r\nsecret: 1/", ""),
        ("http://good.com/\x00", ""),
        ("http://" + "a" * 300 + ".example/", ""),
        ("nonsense", ""),
    ],
)
def test_a_host_is_named_also_where_it_is_not_allowed(url: str, host: str) -> None:
    assert named_host(url) == host


MALFORMED = [
    "",
    "/etc/passwd",
    "example.com/a.png",
    "//example.com/a.png",
    "http:example.com",
    "http:/example.com",
    "http:///example.com",
    "http://",
    "http://?q",
    "http://:80/",
    "http://good.com\\@evil.com/",
    "http:\\\\evil.com/",
    "http://good.com\\.evil.com/",
    " http://good.com/",
    "http://good com/",
    "http://good.com/\ta",
    "http://good\n.com/",
    "http://good.com/\r\nHost: evil.com",
    "http://good.com\x00.evil.com/",
    "http://good.com\u200b.evil.com/",
    "http://good.com/\ud800",
    "http://good.com/\u2028x",
    "http://good.com:99999/",
    "http://good.com:0/",
    "http://good.com:80:80/",
    "http://good.com:８0/",
    "http://good.com:+80/",
    "http://good.com:0x50/",
    "http://good.com./",
    "http://.good.com/",
    "http://good..com/",
    "http://-good.com/",
    "http://goo%64.com/",
    "http://good.com%2eevil.com/",
    "http://good.com／evil.com/",
    "http://good.com？evil.com/",
    "http://go!od.com/",
    "http://go,od.com/",
    "http://[::1/",
    "http://[::1]evil.com/",
    "http://[::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[v1.a]/",
    "http://::1/",
    "http://" + "a" * 64 + ".com/",
    "http://" + "a." * 130 + "com/",
    "http://good.com/" + "a" * 9000,
]
OTHER_SCHEMES = [
    "file:///etc/passwd",
    "ftp://e.com/a",
    "gopher://e.com/",
    "unix://e.com/",
    "data://image/png",
    "ws://e.com/",
]
CREDENTIALS = [
    "http://user@good.com/",
    "http://user:password@good.com/",
    "http://good.com@evil.com/",
    "http://@good.com/",
    "http://good.com:80@evil.com/",
    "http://good.com%40@evil.com/",
]
NUMBERS = [
    "http://2130706433/",
    "http://017700000001/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0X7F.1/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://127.0.0.01/",
    "http://1.2.3.4.5/",
    "http://256.1.1.1/",
    "http://example.0x10/",
    "http://example.123/",
    "http://[127.1]/",
]
NOT_PUBLIC = [
    "http://127.0.0.1/",
    "http://127.8.9.1:8000/v1/models",
    "http://10.0.0.1/",
    "http://100.64.10.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://0.0.0.0/",
    "http://[::1]/",
    "http://[::]/",
    "http://[fd00::1]/",
    "http://[fe80::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::FFFF:7f00:1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://１２７.０.０.１/",
    "http://①②⑦.0.0.1/",
    "http://127。0。0。1/",
]


@pytest.mark.parametrize("url", MALFORMED + OTHER_SCHEMES + CREDENTIALS + NUMBERS + NOT_PUBLIC)
def test_what_must_not_be_fetched_is_refused_with_its_path(url: str) -> None:
    with pytest.raises(URLNotAllowed) as caught:
        check(url)
    assert caught.value.param == PATH
    assert caught.value.code == "url_not_allowed"


@pytest.mark.parametrize("url", MALFORMED + OTHER_SCHEMES + CREDENTIALS + NUMBERS)
def test_the_operator_cannot_open_what_is_malformed(url: str) -> None:
    with pytest.raises(URLNotAllowed):
        check(url, PRIVATE)


def test_sentences_name_the_knob() -> None:
    for url, policy, words in (
        ("http://127.0.0.1/", PUBLIC, "allow_private_urls"),
        ("http://e.com/", URLPolicy(allowed_hosts=("f.com",)), "allowed_url_hosts"),
        ("http://e.com:81/", URLPolicy(allowed_ports=frozenset({443, 80})), "Port 81 .* 80, 443"),
        ("ftp://e.com/", PUBLIC, "http, https or data"),
        ("http://u@e.com/", PUBLIC, "user name"),
    ):
        with pytest.raises(URLNotAllowed, match=words):
            check(url, policy)


def test_the_operator_may_open_private_addresses_but_never_metadata() -> None:
    assert check("http://127.0.0.1:8080/a", PRIVATE).port == 8080
    assert check("http://[::1]/", PRIVATE).host == "::1"
    for url in (
        "http://169.254.169.254/",
        "http://[::ffff:169.254.169.254]/",
        "http://224.0.0.1/",
        "http://0.0.0.0/",
    ):
        with pytest.raises(URLNotAllowed):
            check(url, PRIVATE)


def test_an_allow_list_takes_exact_hosts_and_domains() -> None:
    policy = URLPolicy(allowed_hosts=("Images.example.com", "*.cdn.example"))
    for host in ("images.example.com", "IMAGES.EXAMPLE.COM", "a.cdn.example", "a.b.cdn.example"):
        assert check(f"https://{host}/", policy)
    for host in (
        "example.com",
        "x.images.example.com",
        "cdn.example",
        "evilcdn.example",
        "images.example.com.evil.com",
    ):
        with pytest.raises(URLNotAllowed, match="allowed_url_hosts"):
            check(f"https://{host}/", policy)
    with pytest.raises(URLNotAllowed, match="allow_private_urls"):
        check("http://127.0.0.1/", URLPolicy(allowed_hosts=("127.0.0.1",)))


TOKENS = st.sampled_from(
    ["http", "https", "://", "//", "/", ":", "@", "#", "?", "\\", "[", "]", "%", ".", "127.0.0.1", "::1", "0x7f",
     "good.com", "evil.com", "80", "ü", "。", "１", "-", "_", "\t", " ", "\n", "%40", "xn--", "0", "1", "a"]
)  # fmt: skip


@given(st.lists(TOKENS, max_size=12).map("".join), st.booleans())
def test_whatever_passes_has_one_host_for_every_reader(rest: str, prefixed: bool) -> None:
    try:
        parsed = check(("http://" if prefixed else "") + rest)
    except URLNotAllowed:
        return
    again = URL(str(parsed.url), encoded=True)
    assert (again.raw_host or "").lower() == parsed.host
    assert again.port == parsed.port
    assert again.user is None and again.password is None and not again.raw_fragment
    assert again.scheme in ("http", "https")
    try:
        address = ip_address(parsed.host)
    except ValueError:
        assert not parsed.host[-1].isdigit() or not parsed.host.rpartition(".")[2].isdigit()
    else:
        assert may_contact(address)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/b?c", "https://good.com/b?c"),
        ("b", "https://good.com/a/b"),
        ("//other.com/x", "https://other.com/x"),
        ("https://other.com:8443/x#f", "https://other.com:8443/x"),
        ("/ü", "https://good.com/%C3%BC"),
        ("/my image.png?a b", "https://good.com/my%20image.png?a%20b"),
        ("/my%2Fown image.png", "https://good.com/my%2Fown%20image.png"),
        ("https://other.com/an ü", "https://other.com/an%20%C3%BC"),
        ("  /x  ", "https://good.com/x"),
    ],
)
def test_redirects_are_taken_relative_to_where_they_came_from(location: str, target: str) -> None:
    assert str(follow(location, check("https://good.com/a/"), PUBLIC, PATH).url) == target


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/",
        "//169.254.169.254/latest",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://user@good.com/",
        "\\\\evil.com/",
        "https://good.com\\@evil.com/",
        "https://2130706433/",
        "https://good.com:99999/",
        "/x\r\nHost: evil",
        "https://go od.com/",
        "/x\u3000y",
        "/\udc80",
        "http://good.com/plain",
    ],
)
def test_redirects_are_checked_like_first_urls(location: str) -> None:
    with pytest.raises(URLNotAllowed) as caught:
        follow(location, check("https://good.com/a/"), PUBLIC, PATH)
    assert caught.value.param == PATH
    assert caught.value.cause in (FetchCause.REFUSED, FetchCause.REDIRECT)


def test_a_redirects_target_is_not_called_the_clients_url() -> None:
    for location, words in (
        ("/x\ty", "The target to which the image URL redirects is malformed"),
        ("ftp://good.com/", "The target to which the image URL redirects is none of the kinds"),
        ("https://-good.com/", "The target to which the image URL redirects has a malformed host or port"),
    ):
        with pytest.raises(URLNotAllowed, match=words):
            follow(location, check("https://good.com/a/"), PUBLIC, PATH)


def test_a_redirect_may_leave_http_for_https_but_not_the_allowed_ports() -> None:
    policy = URLPolicy(allowed_ports=frozenset({80, 443}))
    here = check("http://good.com/", policy)
    assert follow("https://good.com/", here, policy, PATH).port == 443
    with pytest.raises(URLNotAllowed, match="Port 8443"):
        follow("https://good.com:8443/", here, policy, PATH)


def answer(*addresses: str) -> list[tuple[Any, ...]]:
    return [
        (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80))
        for address in addresses
    ]


@asynccontextmanager
async def resolving(
    policy: URLPolicy, *answers: list[tuple[Any, ...]] | Exception
) -> AsyncIterator[GuardedResolver]:
    coming = list(answers)

    def lookup(*_: Any) -> list[tuple[Any, ...]]:
        result = coming.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    resolver = GuardedResolver(policy, lookup)
    try:
        yield resolver
    finally:
        await resolver.close()


@pytest.mark.anyio
async def test_the_resolver_gives_all_addresses_as_numbers() -> None:
    async with resolving(PUBLIC, answer("93.184.216.34", "2606:2800::1")) as resolver:
        found = await resolver.resolve("e.com", 443)
    assert [(item["host"], item["port"], item["family"]) for item in found] == [
        ("93.184.216.34", 443, socket.AF_INET),
        ("2606:2800::1", 443, socket.AF_INET6),
    ]
    assert all(item["flags"] & socket.AI_NUMERICHOST for item in found)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.1",),
        ("169.254.169.254",),
        ("10.96.0.1",),
        ("93.184.216.34", "10.0.0.1"),
        ("2606:2800::1", "::1"),
        ("93.184.216.34", "fd00::1"),
        ("::ffff:10.0.0.1",),
        ("64:ff9b::a00:1",),
        ("2002:a00:1::",),
        ("fe80::1%2",),
        ("0.0.0.0",),
        ("224.0.0.1",),
        ("100.64.0.1",),
    ],
)
async def test_one_address_that_is_not_public_refuses_the_host(addresses: tuple[str, ...]) -> None:
    async with resolving(PUBLIC, answer(*addresses)) as resolver:
        with pytest.raises(URLNotAllowed, match="allow_private_urls") as caught:
            await resolver.resolve("kubernetes.default.svc.cluster.local", 443)
    assert not any(address in caught.value.message for address in addresses)


@pytest.mark.anyio
async def test_a_name_that_turns_private_is_refused_when_it_does() -> None:
    async with resolving(PUBLIC, answer("93.184.216.34"), answer("127.0.0.1")) as resolver:
        assert len(await resolver.resolve("rebind.example", 80)) == 1
        with pytest.raises(URLNotAllowed):
            await resolver.resolve("rebind.example", 80)


@pytest.mark.anyio
@pytest.mark.parametrize("failure", [socket.gaierror(-2, "secret detail"), UnicodeError("label"), []])
async def test_a_name_without_an_address_is_a_failed_fetch(failure: Any) -> None:
    async with resolving(PUBLIC, failure) as resolver:
        with pytest.raises(MediaFetchFailed, match="could not be resolved") as caught:
            await resolver.resolve("nowhere.example", 80)
    assert caught.value.cause is FetchCause.DNS
    assert "secret" not in caught.value.message

"""Which URLs may be fetched. A URL is parsed once, so that what was checked is what is fetched.

Host names are resolved by our own resolver, which refuses a host if any of its addresses is not public; aiohttp
connects to these checked addresses only. IP addresses in a URL never reach the resolver and are checked here.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from service.errors import FetchCause, MediaFetchFailed, URLNotAllowed
from service.ingest.addresses import may_contact

_LONGEST_URL = 8192
_UNSAFE = re.compile(
    r"[\x00-\x20\x7f-\xa0\\\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]|[\ud800-\udfff]"
)
_PARTS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>[^/?#]*)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[^\[\]:@%]+)(?::[0-9]{1,5})?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class URLPolicy:
    """What the operator allows."""

    allow_private: bool = False
    """Private and loopback addresses too, but never link-local or multicast ones."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names or addresses; `*.example.com` allows all subdomains. Empty: any."""
    allowed_ports: frozenset[int] = frozenset()
    """Empty: any."""


@dataclass(frozen=True, slots=True)
class ParsedURL:
    """A URL that has passed the guard; `url`, without its fragment, is the object that is fetched."""

    url: URL
    host: str
    """In lower case, internationalised names in their ASCII form, addresses without brackets."""
    port: int


def check_url(url: str, policy: URLPolicy, path: str, *, what: str = "The image URL") -> ParsedURL:
    """Parses `url` and refuses what must not be fetched. The addresses of a host name are checked on resolution.

    White space behind it is passed over, and blanks within it are percent-encoded, as browsers do. `what` it is begins
    the sentences. Raises URLNotAllowed with `path`.
    """
    url = _tidied(url)
    parts = _PARTS.match(url) if _clean(url) else None
    if parts is None:
        raise URLNotAllowed(
            f"{what} is malformed: expected http:// or https:// and a host, at most "
            f"{_LONGEST_URL} characters, without control characters or backslashes.",
            param=path,
        )
    if parts["scheme"].lower() not in ("http", "https"):
        raise URLNotAllowed(f"{what} is none of the kinds that are allowed: http, https or data.", param=path)
    if "@" in parts["authority"]:
        raise URLNotAllowed(f"{what} contains a user name or password, which is not allowed.", param=path)
    parsed = _parse(url) if _AUTHORITY.fullmatch(parts["authority"]) else None
    if parsed is None:
        raise URLNotAllowed(f"{what} has a malformed host or port.", param=path)
    _check_destination(parsed, policy, path)
    return parsed


def named_host(url: str) -> str:
    """The host in `url` as `check_url` would read it, allowed or not; empty where there is none."""
    url = _tidied(url)
    parsed = _parse(url) if _clean(url) else None
    return parsed.host if parsed else ""


def follow(location: str, base: ParsedURL, policy: URLPolicy, path: str) -> ParsedURL:
    """The target of a redirect, checked like the first URL; blanks are taken as browsers take them: those around it
    go, those within are percent-encoded. Raises URLNotAllowed with `path`.
    """
    location = location.strip(" ").replace(" ", "%20")
    try:
        target = str(base.url.join(URL(location, encoded=location.isascii()))) if _clean(location) else ""
    except ValueError:
        target = ""
    parsed = check_url(target, policy, path, what="The target to which the image URL redirects")
    if base.url.scheme == "https" and parsed.url.scheme == "http":
        raise URLNotAllowed(
            "The image URL redirects from https to http.", cause=FetchCause.REDIRECT, param=path
        )
    return parsed


def _tidied(url: str) -> str:
    return url.rstrip(" \t\n\f\r").replace(" ", "%20")


def _clean(url: str) -> bool:
    return len(url) <= _LONGEST_URL and not _UNSAFE.search(url)


def _parse(url: str) -> ParsedURL | None:
    try:
        # an ASCII URL is sent byte for byte as given, so that signed URLs stay valid
        parsed = URL(url, encoded=url.isascii()).with_fragment(None)
        host, port = (parsed.raw_host or "").lower(), parsed.port
    except ValueError:
        return None
    if not port or not (_is_name(host) or _is_address(host)):
        return None
    return ParsedURL(parsed, host, port)


def _is_address(host: str) -> bool:
    """Canonical forms only: some resolvers take `127.1`, `0x7f000001` and `2130706433` for addresses too."""
    try:
        ip = ip_address(host)
    except ValueError:
        return False
    return isinstance(ip, IPv6Address) or str(ip) == host


def _is_name(host: str) -> bool:
    """A DNS name without a trailing dot. If the last label is a number, it is not a name (WHATWG)."""
    labels = host.split(".")
    return (
        len(host) <= 253
        and all(_LABEL.fullmatch(label) for label in labels)
        and not _NUMBER.fullmatch(labels[-1])
    )


def _check_destination(parsed: ParsedURL, policy: URLPolicy, path: str) -> None:
    if policy.allowed_ports and parsed.port not in policy.allowed_ports:
        allowed = ", ".join(map(str, sorted(policy.allowed_ports)))
        raise URLNotAllowed(
            f"Port {parsed.port} is not allowed for image URLs; allowed: {allowed}.", param=path
        )
    if policy.allowed_hosts and not any(_matches(parsed.host, entry) for entry in policy.allowed_hosts):
        raise URLNotAllowed(
            f"Images may not be fetched from the host {parsed.host} (allowed_url_hosts).",
            param=path,
        )
    if _is_address(parsed.host) and not may_contact(parsed.host, allow_private=policy.allow_private):
        raise _not_public(path)


def _matches(host: str, entry: str) -> bool:
    entry = entry.lower()
    return host.endswith(entry[1:]) if entry.startswith("*.") else host == entry


def _not_public(path: str | None) -> URLNotAllowed:
    return URLNotAllowed(
        "The image URL's host is not on the public internet (the operator can allow it with allow_private_urls).",
        param=path,
    )


Lookup = Callable[..., list[tuple[Any, ...]]]


class GuardedResolver(AbstractResolver):
    """aiohttp's resolver: all addresses of a host, or URLNotAllowed if one of them must not be contacted.

    `lookup` has the signature of `socket.getaddrinfo`. Lookups run in their own thread pool, so that slow name servers
    cannot starve other work.
    """

    def __init__(self, policy: URLPolicy, lookup: Lookup = socket.getaddrinfo, *, threads: int = 32) -> None:
        self._policy = policy
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="resolve")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises URLNotAllowed, and MediaFetchFailed for a name that has no address; both without `param`."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(
                self._threads, lambda: self._lookup(host, port, family, socket.SOCK_STREAM)
            )
        except (OSError, UnicodeError):
            found = []
        if not found:
            raise MediaFetchFailed("The image URL's host name could not be resolved.", cause=FetchCause.DNS)
        addresses = [str(answer[4][0]) for answer in found]
        if not all(may_contact(address, allow_private=self._policy.allow_private) for address in addresses):
            raise _not_public(None)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=answer[0],
                proto=answer[2],
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address, answer in zip(addresses, found, strict=True)
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

"""Which addresses may be contacted, against IANA's tables and Python's own view of them."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.ingest.addresses import may_contact

PUBLIC = [
    "8.8.8.8",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "223.255.255.255",
    "2606:2800:220:1:248:1893:25c8:1946",
    "2a00:1450:4001::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]
OPENED_BY_THE_OPERATOR = [
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "::1",
    "fc00::1",
    "fd00:ec2::254",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::192.168.0.1",
]
NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::8.8.8.8",
    "::ffff:169.254.169.254",
    "::ffff:0:8.8.8.8",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:808:808::1",
    "2002:7f00:1::1",
    "3fff::1",
    "5f00::1",
    "fe80::1",
    "fe80::1%eth0",
    "2606:2800::1%1",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_the_public_internet_is_open(address: str) -> None:
    assert may_contact(address)
    assert may_contact(address, allow_private=True)


@pytest.mark.parametrize("address", OPENED_BY_THE_OPERATOR)
def test_private_addresses_open_for_the_operator_alone(address: str) -> None:
    assert not may_contact(address)
    assert may_contact(address, allow_private=True)


@pytest.mark.parametrize("address", NEVER)
def test_special_addresses_stay_closed(address: str) -> None:
    assert not may_contact(address)
    assert not may_contact(address, allow_private=True)


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_nothing_that_python_calls_non_global_is_contacted(address: ipaddress.IPv4Address) -> None:
    if may_contact(address):
        mapped = getattr(address, "ipv4_mapped", None) or address
        assert mapped.is_global
        assert not mapped.is_multicast


@given(st.ip_addresses(v=4))
def test_carried_ipv4_addresses_are_judged_like_themselves(address: ipaddress.IPv4Address) -> None:
    for private in (False, True):
        verdict = may_contact(address, allow_private=private)
        for carrier in ("::ffff:0:0", "64:ff9b::"):
            carried = ipaddress.IPv6Address(int(ipaddress.IPv6Address(carrier)) + int(address))
            assert may_contact(carried, allow_private=private) == verdict


def test_what_is_no_address_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not appear"):
        may_contact("127.1")

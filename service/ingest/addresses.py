"""Which IP addresses may be contacted: a table of IANA's special-purpose registries (RFC 6890 and successors).

The table is our own because the answers of Python's `ipaddress.is_global` changed between patch releases, and those of
a guard must not.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

_PRIVATE = tuple(
    (IPv6Network if ":" in network else IPv4Network)(network)
    for network in (
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, also used inside clusters
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
    )
)
"""What an operator may allow. Link-local addresses stay forbidden: cloud metadata services are there."""

_SPECIAL_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "169.254.0.0/16",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)

_GLOBAL_V6 = IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # Teredo, ORCHID, benchmarking
        "2001:db8::/32",
        "2002::/16",  # 6to4: would carry an IPv4 address past the IPv4 rules
        "3fff::/20",
    )
)
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")


def may_contact(address: str | Address, *, allow_private: bool = False) -> bool:
    """True for addresses on the public internet, and for private ones if the operator allows them.

    IPv4-mapped and NAT64 addresses are judged by the IPv4 address that they contain. Raises ValueError if `address`
    is not an IP address.
    """
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        if ip.scope_id is not None:
            return False
        if ip in _MAPPED or ip in _NAT64:
            return may_contact(IPv4Address(int(ip) & 0xFFFF_FFFF), allow_private=allow_private)
    if any(ip in network for network in _PRIVATE):
        return allow_private
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _SPECIAL_V4)
    return ip in _GLOBAL_V6 and not any(ip in network for network in _SPECIAL_V6)

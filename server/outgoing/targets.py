"""What may be called: server-side request forgery ends here.

An app's developer chooses URLs, and our machine calls them from inside the operator's network. So a URL must look like
that of a public server (`why_not_url`), and the address that is connected to must be a public one (`why_not`), unless
the operator has allowed its network (`DESKBELL_ALLOW_PRIVATE_TARGETS`). The first check only gives early and clear
answers; the second one, made when a connection is made, is the guard.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.config_values import Network

MAX_URL = 2000

_V4 = {
    "0.0.0.0/8": "this network",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared by a carrier's customers",
    "127.0.0.0/8": "loopback",
    "169.254.0.0/16": "link-local",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved for protocols",
    "192.0.2.0/24": "for documentation",
    "192.88.99.0/24": "of 6to4 relays",
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "for benchmarks",
    "198.51.100.0/24": "for documentation",
    "203.0.113.0/24": "for documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
}
_V6 = {
    "::/128": "unspecified",
    "::1/128": "loopback",
    "64:ff9b::/96": "of NAT64",
    "64:ff9b:1::/48": "of NAT64",
    "fc00::/7": "private",
    "fe80::/10": "link-local",
    "fec0::/10": "site-local",
    "ff00::/8": "multicast",
    "2001::/23": "reserved for protocols",
    "2001:db8::/32": "for documentation",
    "2002::/16": "of 6to4",
    "3fff::/20": "for documentation",
}
# From the IANA special-purpose address registries. Not `is_global`: its meaning has changed between Python versions.
_NOT_PUBLIC = {ipaddress.ip_network(network): kind for network, kind in (_V4 | _V6).items()}
_PUBLIC_V6 = ipaddress.ip_network("2000::/3")

_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
_UNSEEN = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\\]")
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)", re.IGNORECASE)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TargetRefused(OSError):
    """`str()` says why this address, or all addresses of a name, may not be connected to."""


def why_not(address: str, allowed: Sequence[Network], *, plain: bool = False) -> str | None:
    """Why no connection may be made to `address`, as sockets know it; None if it may. `plain`: without TLS, which only
    a network that the operator has named may have."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return f"{address} is not an address"
    return _why_not(parsed, allowed, plain)


def _why_not(address: Address, allowed: Sequence[Network], plain: bool) -> str | None:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:  # the kernel talks IPv4 there
            return _why_not(address.ipv4_mapped, allowed, plain)
        inner = _inside(address)
        if inner is not None and (reason := _why_not(inner, allowed, plain=False)) is not None:
            return f"{address} stands for another one: {reason}"
    if any(address in network for network in allowed):
        return None
    for network, kind in _NOT_PUBLIC.items():
        if address in network:
            return f"{address} is not a public address ({kind})"
    if isinstance(address, ipaddress.IPv6Address) and address not in _PUBLIC_V6:
        return f"{address} is not a public address (not in use)"
    return f"{address} is a public address: use https" if plain else None


def _inside(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a translator would connect to."""
    if any(address in network for network in _NAT64):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.sixtofour is not None:
        return address.sixtofour
    return address.teredo[1] if address.teredo is not None else None


def why_not_url(url: str, allowed: Sequence[Network]) -> str | None:
    """Why this URL will not do, as the end of a sentence about it; None if it may be tried."""
    if not url or len(url) > MAX_URL:
        return f"must be 1 to {MAX_URL} characters long"
    if _UNSEEN.search(url):
        return "must not contain spaces, control characters or backslashes"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as problem:
        return f"is not a URL: {problem}"
    if parts.scheme not in ("https", "http"):
        return "must begin with https://"
    if not host or port == 0:
        return "must name a host, and a port from 1 to 65535 or none"
    if parts.username is not None or parts.password is not None:
        return "must not contain a user name or password: calls are signed instead"
    if parts.fragment or url.endswith("#"):
        return "must not have a fragment (#…): it is never sent"
    if parts.scheme == "http" and not allowed:
        return "must begin with https://"
    return _why_not_host(host, allowed, parts.scheme == "http")


def _why_not_host(host: str, allowed: Sequence[Network], plain: bool) -> str | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # What ends in a number is an IPv4 address to whoever resolves it: 2130706433, 0x7f.1, 017700000001.
        if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
            return "must write an address in the usual way, like 192.0.2.1"
        return None
    reason = _why_not(address, allowed, plain)
    return f"will not do: {reason}" if reason is not None else None

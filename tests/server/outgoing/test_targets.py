"""Which URLs and addresses may be called: the forms in which a private address has been smuggled past such checks."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.config_values import networks
from server.outgoing.targets import MAX_URL, why_not, why_not_url

PUBLIC = ["93.184.216.34", "1.1.1.1", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001::200e"]
PRIVATE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.1.2.3",
    "::ffff:a9fe:a9fe",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "4000::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_called_with_tls_only(address: str) -> None:
    assert why_not(address, ()) is None
    assert "use https" in str(why_not(address, (), plain=True))


@pytest.mark.parametrize("address", [*PRIVATE, "localhost", "", "1.2.3", "93.184.216.34:80"])
def test_others_may_not(address: str) -> None:
    assert why_not(address, ()) is not None


@pytest.mark.parametrize(
    ("allowed", "address", "plain", "may"),
    [
        ("10.0.0.0/8", "10.1.2.3", False, True),
        ("10.0.0.0/8", "10.1.2.3", True, True),
        ("10.0.0.0/8", "::ffff:10.1.2.3", False, True),
        ("10.0.0.0/8", "11.0.0.1", True, False),
        ("10.0.0.0/8", "127.0.0.1", False, False),
        ("10.0.0.0/8", "64:ff9b::a00:1", False, False),  # the translator was not allowed
        ("64:ff9b::/96", "64:ff9b::a00:1", False, False),  # nor was what stands behind it
        ("64:ff9b::/96", "64:ff9b::808:808", False, True),
        ("64:ff9b::/96,10.0.0.0/8", "64:ff9b::a00:1", False, True),
        ("2002::/16", "2002:7f00:1::", False, False),
        ("fd00::/8", "fd00::1", True, True),
        ("fd00::/8,127.0.0.0/8", "fe80::1", False, False),
    ],
)
def test_the_operator_may_allow_networks(allowed: str, address: str, plain: bool, may: bool) -> None:
    assert (why_not(address, networks(allowed), plain=plain) is None) is may


@given(st.ip_addresses(v=4))
def test_nothing_is_public_that_python_calls_local(address: ipaddress.IPv4Address) -> None:
    local = address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified
    if local or address.is_private or address.is_reserved:
        assert why_not(str(address), ()) is not None
        assert why_not(f"::ffff:{address}", ()) is not None
        assert why_not(str(ipaddress.IPv6Address((0x64FF9B << 96) | int(address))), ()) is not None


@given(st.ip_addresses(v=6))
def test_nothing_of_ipv6_is_public_outside_of_what_is_given_out(address: ipaddress.IPv6Address) -> None:
    if address not in ipaddress.ip_network("2000::/3") and address.ipv4_mapped is None:
        assert why_not(str(address), ()) is not None


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com",
        "https://hooks.example.com/deskbell?team=1",
        "HTTPS://Hooks.Example.com:8443/a%20b",
        "https://93.184.216.34/",
        "https://[2606:4700::1111]/",
        "https://xn--bcher-kva.example/",
        "https://bücher.example/",
    ],
)
def test_urls_that_will_do(url: str) -> None:
    assert why_not_url(url, ()) is None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "characters"),
        ("https://example.com/" + "a" * MAX_URL, "characters"),
        ("http://example.com/", "https"),
        ("ftp://example.com/", "https"),
        ("file:///etc/passwd", "https"),
        ("gopher://127.0.0.1:6379/_SET", "https"),
        ("//example.com/", "https"),
        ("example.com", "https"),
        ("https:///path", "host"),
        ("https://:443/", "host"),
        ("https://example.com:0/", "port"),
        ("https://example.com:99999/", "not a URL"),
        ("https://[::1", "not a URL"),
        ("https://user:secret@example.com/", "user name"),
        ("https://user@example.com/", "user name"),
        ("https://@127.0.0.1/", "user name"),
        ("https://example.com/#there", "fragment"),
        ("https://example.com/#", "fragment"),
        ("https://example.com/a b", "spaces"),
        ("https://example.com/\r\nHost: other", "control"),
        ("https://example.com\\@127.0.0.1/", "backslashes"),
        ("https://127.0.0.1/", "loopback"),
        ("https://[::1]/", "loopback"),
        ("https://[::ffff:169.254.169.254]/", "link-local"),
        ("https://[64:ff9b::7f00:1]/", "loopback"),
        ("https://10.0.0.5:8080/", "private"),
        ("https://2130706433/", "usual way"),
        ("https://0x7f000001/", "usual way"),
        ("https://0x7f.1/", "usual way"),
        ("https://017700000001/", "usual way"),
        ("https://127.1/", "usual way"),
        ("https://127.0.0.1./", "usual way"),
        ("https://0177.0.0.1/", "usual way"),
    ],
)
def test_urls_that_will_not(url: str, reason: str) -> None:
    assert reason in str(why_not_url(url, ()))


def test_http_is_for_networks_that_the_operator_named() -> None:
    allowed = networks("127.0.0.0/8")
    assert why_not_url("http://127.0.0.1:9000/hook", allowed) is None
    assert why_not_url("http://hooks.internal/", allowed) is None  # where it leads is seen when it is called
    assert "use https" in str(why_not_url("http://93.184.216.34/", allowed))

"""IP policy: which addresses may be dialled."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.egress import EgressRules, blocked_reason

DEFAULT = EgressRules()
NAT64 = ip_network("64:ff9b::/96")


def rules(allow: str = "", deny: str = "") -> EgressRules:
    return EgressRules(True, tuple(map(ip_network, allow.split())), tuple(map(ip_network, deny.split())))


PUBLIC = """
    1.1.1.1 8.8.8.8 9.9.9.9 11.0.0.1 100.63.255.255 100.128.0.1 126.255.255.255 128.0.0.1 169.253.255.255 169.255.0.1
    172.15.255.255 172.32.0.1 191.255.255.255 192.0.1.1 192.0.3.1 192.167.255.255 192.169.0.1 198.17.255.255 198.20.0.1
    198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255
    2606:4700::1111 2001:4860:4860::8888 2a00::1 64:ff9b::8.8.8.8 64:ff9b::a29f:8ae8
    2001:200::1 2003::1 2400::1 3ffe::1 2620:fe::fe
"""
REFUSED = """
    0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.0 127.255.255.255 169.254.0.0
    169.254.169.254 169.254.255.255 172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.255 192.0.2.0 192.88.99.0 192.168.0.0
    192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.0 203.0.113.255 224.0.0.0 239.255.255.255 240.0.0.0
    255.255.255.254 255.255.255.255 100.100.100.200 168.63.129.16 192.0.0.192 169.254.170.2 169.254.170.23
    :: ::1 ::2 ::ffff ::1.2.3.4 ::ffff:0.0.0.0 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:8.8.8.8 ::ffff:0:8.8.8.8
    64:ff9b::127.0.0.1 64:ff9b::169.254.169.254 64:ff9b::192.80.8.124 64:ff9b::10.0.0.1
    64:ff9b:1::8.8.8.8 64:ff9b:1:ffff:ffff:ffff:ffff:ffff 100::1 2001::1
    2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:1::1 2001:2::1 2001:3::1 2001:10::1 2001:1ff:ffff::1 2001:db8::1
    2002::1 2002:808:808::1 2002:7f00:1::1 3fff::1 3fff:fff:ffff::1 4000::1 5f00::1 fc00::1 fdff::1 fd00:ec2::254
    fd00:ec2::23 fd20:ce::254 fd00:c1::a9fe:a9fe fd00:42::42 fd00:a9fe:a9fe::1 fe80::a9fe:a9fe fe80::1
    192.80.8.124 169.254.42.42 169.254.0.23
    fe80::1%eth0 febf::1 fec0::1 feff::1 ff00::1 ff02::1 ff0e::1 2606:4700::1%eth0
"""


@pytest.mark.parametrize("address", PUBLIC.split())
def test_public_addresses_are_allowed(address: str) -> None:
    """Globally reachable addresses are allowed, up to the borders of the blocked networks."""
    assert blocked_reason(address, DEFAULT) is None
    assert blocked_reason(ip_address(address), DEFAULT) is None


@pytest.mark.parametrize("address", REFUSED.split())
def test_special_purpose_addresses_are_blocked(address: str) -> None:
    """IANA's special-purpose networks up to their borders, IPv4 inside IPv6, cloud metadata."""
    assert blocked_reason(address, DEFAULT)
    assert blocked_reason(ip_address(address), DEFAULT)


@pytest.mark.parametrize("text", ["", "nonsense", "1.2.3", "1.2.3.4.5", "::g", "localhost", "01.2.3.4", " 1.1.1.1"])
def test_text_that_is_no_address_is_blocked(text: str) -> None:
    """A text that is no IP address is blocked."""
    assert blocked_reason(text, DEFAULT) == "not an internet address"


@pytest.mark.parametrize(
    ("address", "allow", "opened"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.0.0/16", True),
        ("10.2.0.1", "10.1.0.0/16", False),
        ("127.0.0.1", "10.0.0.0/8 127.0.0.1/32", True),
        ("::1", "127.0.0.0/8", False),
        ("::1", "::1/128", True),
        ("::ffff:10.1.2.3", "10.0.0.0/8", True),
        ("::ffff:10.1.2.3", "::ffff:0:0/96", False),
        ("::ffff:10.1.2.3", "::/0", False),
        ("::ffff:8.8.8.8", "::ffff:0:0/96", True),
        ("::ffff:192.168.0.1", "10.0.0.0/8", False),
        ("64:ff9b::8.8.8.8", "64:ff9b::/96", True),
        ("64:ff9b::10.1.2.3", "64:ff9b::/96", False),
        ("64:ff9b::10.1.2.3", "64:ff9b::/96 10.0.0.0/8", True),
        ("64:ff9b::169.254.169.254", "64:ff9b::/96 169.254.0.0/16", False),
        ("2002:7f00:1::", "2002::/16", False),
        ("2002:808:808::", "2002::/16", True),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001::/32", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "65.54.227.120/32", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "65.54.227.120/32 192.0.2.45/32", True),
        ("2001:0:808:808:0:0:f7f7:f7f7", "2001::/32", True),
        ("fd12::1", "fc00::/7", True),
        ("fe80::1%eth0", "fe80::/10", False),
        ("169.254.169.254", "169.254.0.0/16", False),
        ("169.254.169.254", "0.0.0.0/0", False),
        ("169.254.169.254", "169.254.169.254/32", True),
        ("::ffff:169.254.169.254", "169.254.0.0/16 ::/0", False),
        ("fd00:ec2::254", "fc00::/7", False),
        ("fd00:ec2::254", "fd00:ec2::254/128", True),
        ("fd00:ec2::254%1", "fc00::/7", False),
        ("100.100.100.200", "100.64.0.0/10", False),
        ("100.100.100.201", "100.64.0.0/10", True),
        ("169.254.42.42", "169.254.0.0/16", False),
        ("169.254.0.23", "169.254.0.0/16", False),
        ("fd00:42::42", "fd00::/8", False),
        ("fd00:a9fe:a9fe::1", "fc00::/7", False),
        ("fd00:c1::a9fe:a9fe", "fc00::/7", False),
        ("fe80::a9fe:a9fe", "fe80::/10", False),
        ("192.80.8.124", "0.0.0.0/0", False),
        ("192.80.8.124", "192.80.8.124/32", True),
    ],
)
def test_allow_networks_allows_exactly_the_listed_addresses(address: str, allow: str, opened: bool) -> None:
    """An IPv4 address inside an IPv6 one is checked by itself; cloud metadata must be listed as a single address."""
    assert (blocked_reason(address, rules(allow)) is None) is opened


@pytest.mark.parametrize(
    ("address", "deny"),
    [
        ("8.8.8.8", "8.8.8.0/24"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("::ffff:8.8.8.8", "8.8.8.0/24"),
        ("64:ff9b::8.8.8.8", "8.8.8.0/24"),
        ("2002:808:808::1", "8.8.8.8/32"),
        ("2606:4700::1111", "2606:4700::/32"),
        ("::ffff:8.8.8.8", "::ffff:0:0/96"),
    ],
)
def test_deny_networks_always_wins(address: str, deny: str) -> None:
    """A denied address is blocked, alone or inside an IPv6 address, even if everything is allowed."""
    reason = blocked_reason(address, rules("0.0.0.0/0 ::/0 8.8.8.8/32 10.1.2.3/32", deny))
    assert reason
    assert reason.endswith("is in security.deny_networks")


@given(st.ip_addresses(v=4))
def test_a_blocked_ipv4_address_is_blocked_inside_ipv6(inner: IPv4Address | IPv6Address) -> None:
    """In any IPv6 form, even if all of IPv6 is allowed."""
    number = int(inner)
    open_6 = rules("::/0")
    for wrapped in (
        number,
        0xFFFF << 32 | number,
        0xFFFF << 48 | number,
        0x64FF9B << 96 | number,
        0x2002 << 112 | number << 80,
    ):
        if wrapped > 0xFFFF and blocked_reason(inner, open_6):
            assert blocked_reason(IPv6Address(wrapped), open_6)
        if wrapped > 0xFFFF and IPv6Address(wrapped) not in NAT64:
            assert blocked_reason(IPv6Address(wrapped), DEFAULT)


@given(st.ip_addresses(v=4))
def test_a_nat64_address_is_as_its_ipv4_address(inner: IPv4Address | IPv6Address) -> None:
    """On a network with IPv6 only, 64:ff9b::/96 allows and blocks the same as the IPv4 address inside."""
    translated = IPv6Address(0x64FF9B << 96 | int(inner))
    for egress_rules in (DEFAULT, rules(allow="10.0.0.0/8"), rules(deny="8.0.0.0/8"), rules(allow="::/0")):
        assert (blocked_reason(translated, egress_rules) is None) == (blocked_reason(inner, egress_rules) is None)


@given(st.ip_addresses(v=4))
def test_addresses_that_python_calls_not_global_are_blocked(address: IPv4Address | IPv6Address) -> None:
    """Compared with the standard library's table of IPv4."""
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert blocked_reason(address, DEFAULT)


@given(st.ip_addresses(v=6))
def test_only_global_unicast_ipv6_is_allowed(address: IPv4Address | IPv6Address) -> None:
    """Outside 2000::/3 only NAT64 addresses are allowed."""
    if address in NAT64:
        return
    if address not in ip_network("2000::/3") or not address.is_global:
        assert blocked_reason(address, DEFAULT)


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_an_allowed_network_allows_no_other_address(address: IPv4Address | IPv6Address, prefix: int) -> None:
    """An address outside the allowed network is checked as without it."""
    network = IPv4Network((int(address), prefix), strict=False)
    beside = IPv4Address((int(network.broadcast_address) + 1) % 2**32)
    if beside not in network:
        assert blocked_reason(beside, EgressRules(False, (network,))) == blocked_reason(beside, DEFAULT)

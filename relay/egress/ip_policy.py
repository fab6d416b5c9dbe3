"""The addresses that the relay may connect to. They are checked for each address that is about to be dialled.

What a name resolves to is known only then, so no answer of a name server gets past this check.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class EgressRules:
    """The operator's exceptions to the built-in rules (`security.*` of the configuration)."""

    allow_http: bool = False
    allow_networks: tuple[Network, ...] = ()
    """Networks that are allowed although they are blocked by default. A cloud's metadata address is allowed only if it
    is listed as a single address."""
    deny_networks: tuple[Network, ...] = ()
    """Networks that are always blocked."""


def _table(*rows: tuple[str, str]) -> tuple[tuple[Network, str], ...]:
    return tuple((ip_network(network), label) for network, label in rows)


_METADATA = frozenset(
    ip_address(text)
    for text in (
        *(
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "168.63.129.16",
        ),  # most clouds, AWS's containers, Azure
        *("100.100.100.200", "169.254.0.23", "169.254.42.42", "192.0.0.192"),  # Alibaba, Tencent, Scaleway, Oracle
        "192.80.8.124",  # Equinix Metal, on a public address
        *("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:c1::a9fe:a9fe"),  # AWS, Google Cloud, Oracle
        *("fd00:42::42", "fd00:a9fe:a9fe::1", "fe80::a9fe:a9fe"),  # Scaleway, Linode, OpenStack
    )
)
"""The addresses at which clouds hand out the credentials of a machine."""

_SPECIAL_4 = _table(
    ("0.0.0.0/8", "unspecified"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared by a carrier (CGNAT)"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved"),
    ("192.0.2.0/24", "for documentation"),
    ("192.88.99.0/24", "a 6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "for benchmarks"),
    ("198.51.100.0/24", "for documentation"),
    ("203.0.113.0/24", "for documentation"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("240.0.0.0/4", "reserved"),
)
"""IANA's IPv4 special-purpose registry, without the globally reachable networks."""

_SPECIAL_6 = _table(
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::ffff:0:0/96", "an IPv4-mapped address"),
    ("::ffff:0:0:0/96", "an IPv4-translated address"),
    ("::/96", "an IPv4-compatible address"),
    ("64:ff9b:1::/48", "a NAT64 address of a local prefix"),
    ("2001::/32", "a Teredo address"),
    ("2001::/23", "reserved"),
    ("2001:db8::/32", "for documentation"),
    ("2002::/16", "a 6to4 address"),
    ("3fff::/20", "for documentation"),
    ("2000::/3", ""),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
    ("::/0", "reserved"),
)
"""IANA's IPv6 special-purpose registry, the narrower network first; only 2000::/3 is globally reachable."""


def blocked_reason(address: str | Address, rules: EgressRules) -> str | None:
    """Why the relay does not dial this address; None if it may. Never raises.

    For a NAT64 address of the well-known prefix the IPv4 address inside decides: on a network with IPv6 only, every
    receiver with IPv4 only has such an address (RFC 6052). Any other address that embeds an IPv4 address (mapped, 6to4,
    Teredo, ...) is blocked, unless `allow_networks` lists that IPv4 address, or lists the outer address and the inner
    one is not blocked.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return "not an internet address"
    if isinstance(parsed, IPv6Address) and parsed.scope_id:
        return "bound to a network interface"
    embedded = _embedded_ipv4(parsed)
    denied = (candidate in network for candidate in (parsed, *embedded) for network in rules.deny_networks)
    if any(denied):  # guard: denied-networks
        return f"{parsed} is in security.deny_networks"
    if embedded and all(_allowlisted(inner, rules) for inner in embedded):
        return None
    if parsed in _NAT64 or _allowlisted(parsed, rules):
        reasons = (blocked_reason(inner, rules) for inner in embedded)  # guard: ipv4-in-ipv6
        return next(filter(None, reasons), None)
    label = _reserved_range(parsed)
    return f"{parsed} is {label}" if label else None


def not_dialled(reasons: str) -> str:
    """What a blocked attempt says: why, and which setting would change it."""
    text = f"the address is not dialled: {reasons}"
    is_denied = "security.deny_networks" in reasons  # which comes before what is allowed
    return text if is_denied else f"{text}; if that is wanted, the operator names it in security.allow_networks"


def is_cloud_metadata(address: str) -> bool:
    """Whether a cloud hands out credentials at this address, or at the IPv4 address inside it. Never raises."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(candidate in _METADATA for candidate in (parsed, *_embedded_ipv4(parsed)))


def _reserved_range(address: Address) -> str:
    if address in _METADATA:
        return "where a cloud hands out credentials"
    table = _SPECIAL_4 if address.version == 4 else _SPECIAL_6
    return next((label for network, label in table if address in network), "")


def _allowlisted(address: Address, rules: EgressRules) -> bool:
    networks = [network for network in rules.allow_networks if address in network]
    # guard: allowed-networks
    return any(network.num_addresses == 1 or address not in _METADATA for network in networks)


def _embedded_ipv4(address: Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses inside an IPv6 address to which a router would forward packets."""
    if isinstance(address, IPv4Address):
        return ()
    if address.teredo:
        return address.teredo
    if address.sixtofour:
        return (address.sixtofour,)
    number = int(address)
    if number > 0xFFFF and number >> 32 in _IPV4_PREFIXES:
        return (IPv4Address(number & 0xFFFF_FFFF),)
    return ()


_NAT64 = ip_network("64:ff9b::/96")
_IPV4_PREFIXES = frozenset(
    int(IPv6Address(prefix)) >> 32 for prefix in ("::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::")
)


def opens_loopback(rules: EgressRules) -> bool:
    """Whether the rules allow at least one loopback address."""
    loopback = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    return any(allowed.overlaps(network) for allowed in rules.allow_networks for network in loopback)


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine, and is out of reach for others."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False

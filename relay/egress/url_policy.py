"""What the relay may call: URLs judged by their text, addresses judged as they are dialled.

A URL is judged alike when it is registered, tested and sent to. What a name resolves to is only known when it is
dialled, so `blocked_reason` judges that: no answer of a name server gets past it.
"""

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NoReturn
from unicodedata import category
from urllib.parse import quote, urlsplit

import idna

from relay.errors import ValidationFailed

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LONGEST_URL = 2_048


@dataclass(frozen=True, slots=True)
class EgressRules:
    """What the operator opened and closed beyond the built-in rules (`security.*` of the configuration)."""

    allow_http: bool = False
    allow_networks: tuple[Network, ...] = ()
    """Refused by default, yet wanted. Opens exactly what it names; cloud metadata only where named as one address."""
    deny_networks: tuple[Network, ...] = ()
    """Refused whatever else holds."""


@dataclass(frozen=True, slots=True)
class ParsedUrl:
    """A URL that may be called, as it is dialled: ASCII only, lower-case host, no fragment."""

    url: str = field(repr=False)
    """As it goes over the wire; a secret where a chat service made it."""
    scheme: str
    host_port: str
    """`host:port`, the port always present: what the per-host limits count."""


# --- the text of a URL -----------------------------------------------------------------------------------------

_PORT = re.compile(r"[1-9][0-9]{0,4}")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DOTS = frozenset("\u3002\uff0e\uff61\u2024\u06d4")
_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback"})
_KEPT = "%/:@!$&'()*+,;=?[]|"


def validate_url(url: str, rules: EgressRules, field: str = "callback_url") -> ParsedUrl:
    """The target that `url` names.

    Raises `ValidationFailed` (codes `invalid_url`, `https_required`, `blocked_address`; never holding path or query)
    for what no request can or may be sent to. A name is not resolved: its addresses are judged when they are dialled.
    """
    return _UrlValidator(rules, field).target(url)


def validate_host(host: str, rules: EgressRules, field: str) -> str:
    """The host of a URL as it is dialled. Raises ValidationFailed as `validate_url` does."""
    return _UrlValidator(rules, field).host(host)


class _UrlValidator:
    """One judgement: the rules, and the field to blame."""

    def __init__(self, rules: EgressRules, field: str) -> None:
        self.rules = rules
        self.field = field

    def refuse(self, why: str, code: str = "invalid_url") -> NoReturn:
        raise ValidationFailed(code, f"{self.field} {why}", self.field)

    def target(self, url: str) -> ParsedUrl:
        self.check_text(url)
        try:
            parts = urlsplit(url)
        except ValueError:
            self.refuse("is not a URL. Write it as https://host/path.")
        default_port = self.default_port(parts.scheme)
        if "@" in parts.netloc:  # guard: url-credentials
            self.refuse("holds a user name or password. Leave them out; use `headers` for an Authorization header.")
        host, port = self.host_and_port(parts.netloc)
        host = self.host(host)
        authority = host if port in (None, default_port) else f"{host}:{port}"
        path = quote(parts.path, safe=_KEPT) or "/"
        query = f"?{quote(parts.query, safe=_KEPT)}" if parts.query else ""
        return ParsedUrl(f"{parts.scheme}://{authority}{path}{query}", parts.scheme, f"{host}:{port or default_port}")

    def check_text(self, url: str) -> None:
        if not isinstance(url, str) or not url:
            self.refuse("is empty. Write it as https://host/path.")
        if len(url) > LONGEST_URL:
            self.refuse(f"is longer than {LONGEST_URL:,} characters.")
        if any(character == "\\" or category(character)[0] in "CZ" for character in url):
            self.refuse("holds a space, a backslash or a control character. Percent-encode it, or leave it out.")

    def default_port(self, scheme: str) -> int:
        if scheme == "https":
            return 443
        if scheme != "http":
            self.refuse("does not start with https://. The relay calls nothing else.")
        if not self.rules.allow_http:  # guard: only-https
            self.refuse("starts with http://. Use https://, or set security.allow_http: true.", "https_required")
        return 80

    def host_and_port(self, netloc: str) -> tuple[str, int | None]:
        end = netloc.rfind("]") + 1
        host, colon, port = netloc[end:].partition(":")
        if colon and not (_PORT.fullmatch(port) and int(port) <= 65_535):
            self.refuse("has a port that is not a number from 1 to 65535.")
        if end and host:
            self.refuse("has something between the address in brackets and the port.")
        return netloc[:end] or host, int(port) if colon else None

    def host(self, text: str) -> str:
        """The host as it is dialled: a literal address in its one canonical form, or a name in ASCII."""
        if text.startswith("["):
            return f"[{self.literal(text[1:-1], IPv6Address)}]"
        if _NUMBER.fullmatch(text.rpartition(".")[2].lower()):
            return self.literal(text, IPv4Address)
        name = self.name(text.lower())
        if (name in _LOCAL_NAMES or name.endswith(".localhost")) and not _opens_loopback(self.rules):
            self.refuse(_how_to_open("names this machine"), "blocked_address")
        return name

    def literal(self, text: str, version: type[Address]) -> str:
        try:
            address = version(text)
        except ValueError:
            self.refuse("has an IP address in an odd form. Write it plainly, as in 203.0.113.7 or [2001:db8::7].")
        if reason := blocked_reason(address, self.rules):  # guard: url-address
            self.refuse(_how_to_open(f"cannot be called: {reason}"), "blocked_address")
        return str(address)

    def name(self, text: str) -> str:
        if not text.strip("."):
            self.refuse("names no host. Write it as https://host/path.")
        if text.endswith(".") or not _DOTS.isdisjoint(text):
            self.refuse("has a host that ends with a dot, or holds a character that only looks like one.")
        try:
            name = text if text.isascii() else idna.encode(text).decode()
            for label in name.split("."):
                if not _LABEL.fullmatch(label) or (label.startswith("xn--") and not idna.ulabel(label)):
                    raise UnicodeError
        except UnicodeError:
            self.refuse("has a host that is not a valid domain name.")
        if len(name) > 253:
            self.refuse("has a host longer than the 253 characters that a domain name can have.")
        return name


def _how_to_open(what: str) -> str:
    return f"{what}. If that is wanted, the operator names the address in security.allow_networks."


def mask_url(url: str) -> str:
    """The URL as it may be shown: `https://hooks.slack.com/…`. Never path, query or credentials; never raises."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "…"
    if not host or parts.scheme not in ("http", "https", "smtp", "smtps") or not re.fullmatch(r"[\w.:-]+", host):
        return "…"
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{f':{port}' if port is not None else ''}/…"


# --- the address that is dialled -------------------------------------------------------------------------------


def _table(*rows: tuple[str, str]) -> tuple[tuple[Network, str], ...]:
    return tuple((ip_network(network), what) for network, what in rows)


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
"""Clouds hand out the credentials of a machine here."""

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
"""IANA's IPv4 special-purpose registry, less what is reachable by everybody."""

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
"""IANA's IPv6 special-purpose registry, the narrower network first; only 2000::/3 is anybody's to reach."""


def blocked_reason(address: str | Address, rules: EgressRules) -> str | None:
    """Why this address is not dialled; None if it may be.

    A NAT64 address of the well-known prefix is judged by the IPv4 address inside: on a network with IPv6 only, every
    receiver with IPv4 only has such an address (RFC 6052). Any other address that embeds an IPv4 address (mapped, 6to4,
    Teredo, ...) is refused, unless that IPv4 address is itself in `allow_networks`, or the outer one is and the inner
    one may be dialled anyway.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return "not an internet address"
    if isinstance(parsed, IPv6Address) and parsed.scope_id:
        return "bound to a network interface"
    embedded = _embedded_ipv4(parsed)
    denied = (one in network for one in (parsed, *embedded) for network in rules.deny_networks)
    if any(denied):  # guard: denied-networks
        return f"{parsed} is in security.deny_networks"
    if embedded and all(_allowlisted(inner, rules) for inner in embedded):
        return None
    if parsed in _NAT64 or _allowlisted(parsed, rules):
        return next((why for inner in embedded if (why := blocked_reason(inner, rules))), None)  # guard: ipv4-in-ipv6
    what = _reserved_range(parsed)
    return f"{parsed} is {what}" if what else None


def is_cloud_metadata(address: str) -> bool:
    """Whether a cloud hands out credentials at this address, or at the IPv4 address inside it. Never raises."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(one in _METADATA for one in (parsed, *_embedded_ipv4(parsed)))


def _reserved_range(address: Address) -> str:
    if address in _METADATA:
        return "where a cloud hands out credentials"
    table = _SPECIAL_4 if address.version == 4 else _SPECIAL_6
    return next((what for network, what in table if address in network), "")


def _allowlisted(address: Address, rules: EgressRules) -> bool:
    networks = [network for network in rules.allow_networks if address in network]
    # guard: allowed-networks
    return any(network.num_addresses == 1 or address not in _METADATA for network in networks)


def _embedded_ipv4(address: Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses inside an IPv6 address that a router would send the packets on to."""
    if isinstance(address, IPv4Address):
        return ()
    if address.teredo:
        return address.teredo
    if address.sixtofour:
        return (address.sixtofour,)
    number = int(address)
    if number > 0xFFFF and number >> 32 in _HOLDERS:
        return (IPv4Address(number & 0xFFFF_FFFF),)
    return ()


_NAT64 = ip_network("64:ff9b::/96")
_HOLDERS = frozenset(int(IPv6Address(prefix)) >> 32 for prefix in ("::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::"))


def _opens_loopback(rules: EgressRules) -> bool:
    loopback = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    return any(ours.overlaps(one) for ours in rules.allow_networks for one in loopback)


# --- the relay's own side --------------------------------------------------------------------------------------


def is_loopback(host: str) -> bool:
    """Whether a host's name or address means the machine itself, and nobody else can reach it."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False

"""The URLs that the relay may call, by their text: one validation for registering, testing and sending.

It resolves no name: `ip_policy.py` checks the addresses of a name when they are dialled.
"""

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import NoReturn
from unicodedata import category
from urllib.parse import quote, urlsplit

import idna

from relay.egress.ip_policy import Address, EgressRules, blocked_reason, opens_loopback
from relay.errors import ValidationFailed

MAX_URL = 2_048
"""Characters of a URL."""

MASK = "…"
"""Stands for the secret part of a URL wherever the relay shows it. A URL that contains it was copied from there."""


@dataclass(frozen=True, slots=True)
class ParsedUrl:
    """A URL that may be called, in the form that is requested: ASCII only, lower-case host, no fragment."""

    url: str = field(repr=False)
    """As it is sent. It is a secret if a chat service made it."""
    scheme: str
    host_port: str
    """`host:port`, with the default port too: the key of the per-host limits."""


_PORT = re.compile(r"[1-9][0-9]{0,4}")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DOTS = frozenset("\u3002\uff0e\uff61\u2024\u06d4")
_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback"})
_AROUND = "<\"'`[(“‘«„"
"""What chats, mail and Markdown put before a URL."""
_UNQUOTED = "%/:@!$&'()*+,;=?[]|"


def validate_url(url: str, rules: EgressRules, field: str = "callback_url") -> ParsedUrl:
    """The parsed URL.

    Raises `ValidationFailed` (codes `invalid_url`, `https_required`, `blocked_address`) if no request can or may be
    sent to it. The error never contains path or query."""
    return _UrlValidator(rules, field).target(url)


def validate_host(host: str, rules: EgressRules, field: str) -> str:
    """The host of a URL as it is dialled. Raises ValidationFailed as `validate_url` does."""
    return _UrlValidator(rules, field).host(host)


class _UrlValidator:
    """One validation: the rules, and the field that errors name."""

    def __init__(self, rules: EgressRules, field: str) -> None:
        self.rules = rules
        self.field = field

    def refuse(self, reason: str, code: str = "invalid_url") -> NoReturn:
        raise ValidationFailed(code, f"{self.field} {reason}", self.field)

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
        path = quote(parts.path, safe=_UNQUOTED) or "/"
        query = f"?{quote(parts.query, safe=_UNQUOTED)}" if parts.query else ""
        return ParsedUrl(f"{parts.scheme}://{authority}{path}{query}", parts.scheme, f"{host}:{port or default_port}")

    def check_text(self, url: str) -> None:
        if not isinstance(url, str) or not url:
            self.refuse("is empty. Write it as https://host/path.")
        if len(url) > MAX_URL:
            self.refuse(f"is longer than {MAX_URL:,} characters.")
        if any(character == "\\" or category(character)[0] in "CZ" for character in url):
            self.refuse("holds a space, a backslash or a control character. Percent-encode it, or leave it out.")
        if url[0] in _AROUND:
            self.refuse("holds more than a URL. Paste it without the brackets or quotation marks around it.")

    def default_port(self, scheme: str) -> int:
        if scheme == "https":
            return 443
        if scheme != "http":
            schemes = "https:// or http://" if self.rules.allow_http else "https://"
            self.refuse(f"does not start with {schemes}. The relay calls nothing else.")
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
        """The host as it is dialled: an IP address in its one canonical form, or a name in ASCII."""
        if text.startswith("["):
            return f"[{self.literal(text[1:-1], IPv6Address)}]"
        if _NUMBER.fullmatch(text.rpartition(".")[2].lower()):
            return self.literal(text, IPv4Address)
        name = self.name(text.lower())
        if (name in _LOCAL_NAMES or name.endswith(".localhost")) and not opens_loopback(self.rules):
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
            self.refuse("has a host that ends with a dot, or holds a character that resembles one.")
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


def _how_to_open(setting: str) -> str:
    return f"{setting}. If that is wanted, the operator names the address in security.allow_networks."


def mask_url(url: str) -> str:
    """The URL as it may be shown: `https://hooks.slack.com/…`, without path, query and credentials. Never raises."""
    if url == "pull:":  # without relay.model, which loads pydantic, and which no client needs
        return url
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return MASK
    if not host or parts.scheme not in ("http", "https", "smtp", "smtps") or not re.fullmatch(r"[\w.:-]+", host):
        return MASK
    host_text = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host_text}{f':{port}' if port is not None else ''}/{MASK}"

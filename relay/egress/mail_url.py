"""The URL of an endpoint that gets e-mails: the mail server, the login, and the addresses.

    smtp://USER:PASSWORD@HOST:PORT/?from=relay@example.com&to=a@example.com,b@example.com&tls=starttls

`smtps` is TLS from the first byte (port 465), `smtp` STARTTLS (port 587); `tls` says it explicitly: `starttls`, `tls`,
or `none`, which sends everything unencrypted and needs `security.allow_http`. Without a user there is no login.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

from relay.egress.ip_policy import EgressRules
from relay.egress.url_policy import MAX_URL, ParsedUrl, validate_host
from relay.errors import ValidationFailed

SCHEMES = ("smtp", "smtps")
MODES = ("starttls", "tls", "none")
MAX_RECIPIENTS = 20

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_PORTS = {"starttls": 587, "tls": 465, "none": 25}


@dataclass(frozen=True, slots=True)
class MailServer:
    """What a mail URL says."""

    host: str
    port: int
    tls: str
    """One of MODES."""
    sender: str
    recipients: tuple[str, ...]
    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def host_port(self) -> str:
        return f"{self.host}:{self.port}"


def is_mail_url(url: str) -> bool:
    """Whether an endpoint's URL names a mail server."""
    return url.partition(":")[0].lower() in SCHEMES


def validate_mail_url(url: str, rules: EgressRules, field: str = "url") -> ParsedUrl:
    """The target that `url` names. Raises ValidationFailed without repeating a secret of it.

    The host is not resolved: its addresses are judged when they are dialled, as for every URL.
    """

    def refuse(reason: str, code: str = "invalid_url") -> NoReturn:
        raise ValidationFailed(code, f"{field} {reason}", field)

    if len(url) > MAX_URL:
        refuse(f"is longer than {MAX_URL:,} characters.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        refuse("is not a URL. Write it as smtp://user:password@host:587/?from=...&to=...")
    query = _query(parts)
    if unknown := sorted(set(query) - {"from", "to", "tls"}):
        refuse(f"has a parameter that is none of from, to, tls: {unknown[0][:50]!r}.")
    host = validate_host(parts.netloc.rpartition("@")[2].rpartition(":")[0 if port else 2], rules, field)
    mode = query.get("tls") or _default_mode(parts, port)
    if mode not in MODES:
        refuse(f"has a tls that is none of {', '.join(MODES)}.")
    if mode == "none" and not rules.allow_http:  # guard: mail-encrypted
        refuse("asks for no encryption. Use tls=starttls or tls=tls, or set security.allow_http: true.", "tls_required")
    if mode == "none" and parts.username:
        refuse("would send the password unencrypted. Use tls=starttls or tls=tls, or leave the user out.")
    addresses = [query.get("from", ""), *_recipients(query)]
    if len(addresses) < 2 or len(addresses) > MAX_RECIPIENTS + 1:
        refuse(f"names no address to send to, or more than {MAX_RECIPIENTS}. Write ?from=a@b.example&to=c@d.example.")
    for address in addresses:
        if not _ADDRESS.fullmatch(address):
            refuse(
                "has a from or to that is no plain e-mail address. Write ?from=a@b.example&to=c@d.example,e@f.example."
            )
    if parts.path not in ("", "/"):
        refuse("has a path. Write ?from=...&to=... behind the host.")
    login = (
        f"{quote(unquote(parts.username), safe='')}:{quote(unquote(parts.password or ''), safe='')}@"
        if parts.username
        else ""
    )
    port = port or _PORTS[mode]
    recipients = quote(",".join(addresses[1:]), safe="@,+")
    target = f"{parts.scheme}://{login}{host}:{port}/?from={quote(addresses[0], safe='@+')}&to={recipients}&tls={mode}"
    return ParsedUrl(target, parts.scheme, f"{host}:{port}")


def parse_mail_url(url: str) -> MailServer:
    """What a validated mail URL says."""
    parts = urlsplit(url)
    query = _query(parts)
    return MailServer(
        host=(parts.hostname or "").strip("[]"),
        port=parts.port or 0,
        tls=query["tls"],
        sender=query["from"],
        recipients=tuple(_recipients(query)),
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )


def _query(parts: SplitResult) -> dict[str, str]:
    """The parameters; a plus sign is itself, as in an address."""
    return {name: values[-1] for name, values in parse_qs(parts.query.replace("+", "%2B")).items()}


def _default_mode(parts: SplitResult, port: int | None) -> str:
    return "tls" if parts.scheme == "smtps" or port == 465 else "starttls"


def _recipients(query: Mapping[str, str]) -> list[str]:
    return [address.strip() for address in query.get("to", "").split(",") if address.strip()]

"""Subscribing: what makes an endpoint, whether it comes with a registration, from the API or from the configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relay import formats
from relay.egress.header_policy import check_headers
from relay.egress.mail_url import is_mail_url, validate_mail_url
from relay.egress.url_policy import EgressRules, ParsedUrl, validate_url
from relay.errors import ValidationFailed
from relay.formats import template
from relay.model import (
    ID_BYTES,
    Endpoint,
    EndpointKind,
    EventType,
    Instant,
    InvalidQuietHours,
    Secret,
    format_identity,
    new_id,
    parse_quiet_hours,
)
from relay.signing import standard_webhooks
from relay.signing.standard_webhooks import SignatureScheme

MASK = "…"
"""What pages and answers show in place of a URL's secret part: a URL with it is no URL that was ever given."""

SECRET_BYTES = 32
RANDOM_BYTES = ID_BYTES + SECRET_BYTES
"""Random bytes that a new endpoint takes."""
"""Random bytes of a secret that the relay makes; Standard Webhooks asks for 24 to 64."""


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """An endpoint as somebody asks for it."""

    url: str = field(repr=False)
    format: str = "auto"
    events: tuple[EventType, ...] | None = None
    """None: the format's default."""
    secret: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    signing: SignatureScheme | None = None
    """None: as the secret says, else by HMAC."""
    template: Mapping[str, Any] | None = field(default=None, repr=False)
    """The body of the format `template`, which `auto` becomes where there is one."""
    quiet: str | None = None
    """`22:00-07:00 Europe/Berlin`; None or empty: no quiet hours."""
    fallback: str | None = None
    """The name of another endpoint; None or empty: no fallback."""
    outside_only: bool = False
    """As `Endpoint.outside_only`."""


@dataclass(frozen=True, slots=True)
class ValidatedEndpoint:
    """The same, found fit: the URL judged, the format chosen."""

    target: ParsedUrl
    format: str
    events: tuple[EventType, ...]
    secret: str | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    signing: SignatureScheme = SignatureScheme.HMAC
    template: str | None = field(default=None, repr=False)
    quiet: str | None = None
    fallback: str | None = None
    outside_only: bool = False

    @property
    def format_identity(self) -> str:
        """What of its format tells two requests for one URL apart: its name, and the template where it has one."""
        return format_identity(self.format, self.template)

    @property
    def secret_identity(self) -> str | None:
        """What of its signing tells two requests for one URL apart: the secret that came, or the wish for Ed25519."""
        return self.secret or (self.signing.value if self.signing is SignatureScheme.ED25519 else None)


def validate(wanted: EndpointSpec, rules: EgressRules, url_field: str = "callback_url") -> ValidatedEndpoint:
    """Judges an endpoint before anything is stored. Raises Invalid, naming the field."""
    if MASK in wanted.url:
        raise ValidationFailed("masked_url", "this URL is masked; give the whole URL, or leave it out", url_field)
    if is_mail_url(wanted.url):
        target = validate_mail_url(wanted.url, rules, url_field)
    else:
        target = validate_url(wanted.url, rules, url_field)
        formats.check_pasted_url(target.url, url_field)
    chosen, own = _check_format(wanted, target)
    scheme = check_signing(wanted.signing, wanted.secret)
    check_headers(wanted.headers)
    events = formats.default_events(chosen) if wanted.events is None else wanted.events
    quiet = _check_quiet(wanted.quiet, chosen)
    return ValidatedEndpoint(
        target,
        chosen,
        events,
        wanted.secret,
        dict(wanted.headers),
        scheme,
        own,
        quiet,
        wanted.fallback or None,
        wanted.outside_only,
    )


def _check_quiet(text: str | None, format: str) -> str | None:
    if not text:
        return None
    if not formats.is_read_by_people(format):
        raise ValidationFailed("quiet_not_possible", "quiet is for chats and e-mail: a program needs no sleep", "quiet")
    try:
        parse_quiet_hours(text)
    except InvalidQuietHours as fault:
        raise ValidationFailed("invalid_quiet", f"quiet {fault}", "quiet") from None
    return text.strip()


def _check_format(wanted: EndpointSpec, target: ParsedUrl) -> tuple[str, str | None]:
    """The format, and its template where it is `template`."""
    if wanted.template is not None and is_mail_url(target.url):
        raise ValidationFailed("wrong_format", "a template is a JSON body, and an e-mail has none", "template")
    if wanted.template is not None:
        if wanted.format not in ("auto", template.NAME):
            raise ValidationFailed(
                "two_formats", "give format or template, not both: a template is a format", "template"
            )
        return template.NAME, template.check(wanted.template)
    if wanted.format == template.NAME:
        raise ValidationFailed(
            "missing_field",
            "a template belongs to the format template, and to standing endpoints: give it there",
            "template",
        )
    chosen = formats.detect_format(target.url) if wanted.format == "auto" else wanted.format
    if is_mail_url(target.url) != (chosen == "email"):
        text = "the format email belongs to a URL smtp://USER:PASSWORD@HOST/?from=...&to=..., and to no other"
        raise ValidationFailed("wrong_format", text, "format")
    if wanted.format == "auto":
        return chosen, None
    if wanted.format not in formats.FORMATS:
        known = ", ".join(["auto", *formats.FORMATS])
        raise ValidationFailed("unknown_format", f"there is no format of this name; choose one of {known}", "format")
    return wanted.format, None


def check_signing(wanted: SignatureScheme | None, secret: str | None) -> SignatureScheme:
    """How an endpoint signs. Raises Invalid for a secret that is none, or beside a wish."""
    if secret is None:
        return wanted or SignatureScheme.HMAC
    standard_webhooks.check_secret(secret)
    if wanted is not None:
        text = "give secret or signing, not both: a secret says how it signs, whsec_ by HMAC, whsk_ by Ed25519"
        raise ValidationFailed("two_secrets", text, "signing")
    return standard_webhooks.scheme_of(secret)


def new_endpoint(
    checked: ValidatedEndpoint,
    *,
    kind: EndpointKind,
    now: Instant,
    random_bytes: bytes,
    name: str | None = None,
    source: str = "api",
) -> Endpoint:
    """A new endpoint, with the secret that came or one made from `random_bytes`, which are `RANDOM_BYTES`."""
    return Endpoint(
        id=new_id("ep", now, random_bytes[:ID_BYTES]),
        kind=kind,
        name=name,
        url=checked.target.url,
        host=checked.target.host_port,
        format=checked.format,
        template=checked.template,
        events=checked.events,
        secrets=(Secret(checked.secret or standard_webhooks.new_secret(random_bytes[ID_BYTES:], checked.signing)),),
        headers=checked.headers,
        created_at=now,
        source=source,
        quiet=checked.quiet,
        fallback=checked.fallback,
        outside_only=checked.outside_only,
    )

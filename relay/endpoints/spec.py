"""The specification of an endpoint, and its validation: for registrations, the API and the configuration alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relay import formats
from relay.config import EndpointSection, parsers
from relay.egress import EgressRules, validate_url
from relay.egress.header_policy import check_headers
from relay.egress.mail_url import is_mail_url, validate_mail_url
from relay.egress.url_policy import MASK, ParsedUrl
from relay.errors import ValidationFailed
from relay.formats import template
from relay.model import (
    ID_BYTES,
    PULL_URL,
    Endpoint,
    EndpointKind,
    EventType,
    Instant,
    InvalidDigest,
    InvalidQuietHours,
    Secret,
    format_identity,
    new_id,
    parse_digest,
    parse_quiet_hours,
)
from relay.signing import SignatureScheme, standard_webhooks

SECRET_BYTES = 32
"""Random bytes of a generated secret; Standard Webhooks asks for 24 to 64."""
RANDOM_BYTES = ID_BYTES + SECRET_BYTES
"""Random bytes that a new endpoint needs."""


_SLACK_SHAPED = ("mattermost", "rocketchat")
"""Formats of servers that take Slack's webhooks for their own, without Slack's blocks."""


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """An endpoint as the request describes it, not validated."""

    url: str = field(repr=False)
    format: str = "auto"
    events: tuple[EventType, ...] | None = None
    """None: the format's default."""
    secret: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    signing: SignatureScheme | None = None
    """None: the scheme of the secret; HMAC without a secret."""
    template: Mapping[str, Any] | None = field(default=None, repr=False)
    """The body of the format `template`. With a template, `auto` means that format."""
    quiet: str | None = None
    """`22:00-07:00 Europe/Berlin`; None or empty: no quiet hours."""
    digest: str | None = None
    """`5m`; None or empty: no digest."""
    fallback: str | None = None
    """The name of another endpoint; None or empty: no fallback."""
    outside_only: bool = False
    """As `Endpoint.outside_only`."""


@dataclass(frozen=True, slots=True)
class ValidatedEndpoint:
    """A validated specification: the URL is parsed, the format is detected."""

    target: ParsedUrl
    format: str
    events: tuple[EventType, ...]
    secret: str | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    signing: SignatureScheme = SignatureScheme.HMAC
    template: str | None = field(default=None, repr=False)
    quiet: str | None = None
    digest: str | None = None
    fallback: str | None = None
    outside_only: bool = False

    @property
    def format_identity(self) -> str:
        """The format's part of the endpoint's identity: its name, and the template if there is one."""
        return format_identity(self.format, self.template)

    @property
    def secret_identity(self) -> str | None:
        """The secret's part of the endpoint's identity: the given secret, or `ed25519` if that is asked for."""
        return self.secret or (self.signing.value if self.signing is SignatureScheme.ED25519 else None)


def of_section(section: EndpointSection) -> EndpointSpec:
    """The specification in a section of the configuration."""
    return EndpointSpec(
        section.url.get_secret_value(),
        section.format,
        section.events,
        section.secret.get_secret_value() if section.secret else None,
        section.headers,
        section.signing,
        section.template,
        section.quiet,
        section.digest,
        section.fallback,
    )


def validate(endpoint_spec: EndpointSpec, rules: EgressRules, url_field: str = "callback_url") -> ValidatedEndpoint:
    """Validates an endpoint without the store. Raises ValidationFailed, which names the field."""
    if MASK in endpoint_spec.url:
        raise ValidationFailed("masked_url", "this URL is masked; give the whole URL, or leave it out", url_field)
    if endpoint_spec.url == PULL_URL:
        target = _check_pulled(endpoint_spec, url_field)
    elif is_mail_url(endpoint_spec.url):
        target = validate_mail_url(endpoint_spec.url, rules, url_field)
    else:
        target = validate_url(endpoint_spec.url, rules, url_field)
        formats.check_pasted_url(target.url, url_field)
    format, own_template = _check_format(endpoint_spec, target)
    scheme = check_signing(endpoint_spec.signing, endpoint_spec.secret)
    check_headers(endpoint_spec.headers)
    events = formats.default_events(format) if endpoint_spec.events is None else endpoint_spec.events
    quiet = _check_quiet(endpoint_spec.quiet, format)
    return ValidatedEndpoint(
        target,
        format,
        events,
        endpoint_spec.secret,
        dict(endpoint_spec.headers),
        scheme,
        own_template,
        quiet,
        _check_digest(endpoint_spec.digest, format),
        endpoint_spec.fallback or None,
        endpoint_spec.outside_only,
    )


def check_name(name: str) -> None:
    """Raises ValidationFailed for a name that commands and registrations could not give."""
    try:
        parsers.name(name)
    except ValueError as fault:
        raise ValidationFailed("invalid_name", f"the name {fault}", "name") from None


def _check_pulled(endpoint_spec: EndpointSpec, url_field: str) -> ParsedUrl:
    """The target of an endpoint to which nothing is sent."""
    if url_field == "callback_url":
        text = "pull: is for standing endpoints: read the feed of events with job_id, or wait for the job"
        raise ValidationFailed("invalid_url", text, url_field)
    for name in ("headers", "quiet", "digest", "fallback"):
        if getattr(endpoint_spec, name):
            text = f"nothing is sent to an endpoint that is pulled, so it has no {name}: leave it out"
            raise ValidationFailed(f"{name}_not_possible", text, name)
    return ParsedUrl(PULL_URL, "pull", "")


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


def _check_digest(text: str | None, format: str) -> str | None:
    if not text:
        return None
    if not formats.is_read_by_people(format):
        message = "digest is for chats and e-mail: a program reads each event by itself"
        raise ValidationFailed("digest_not_possible", message, "digest")
    try:
        parse_digest(text)
    except InvalidDigest as fault:
        raise ValidationFailed("invalid_digest", f"digest {fault}", "digest") from None
    return text.strip()


def _check_format(endpoint_spec: EndpointSpec, target: ParsedUrl) -> tuple[str, str | None]:
    """The format's name, and the template if the format is `template`."""
    if endpoint_spec.template is not None and is_mail_url(target.url):
        raise ValidationFailed("wrong_format", "a template is a JSON body, and an e-mail has none", "template")
    if endpoint_spec.template is not None:
        if endpoint_spec.format not in ("auto", template.NAME):
            raise ValidationFailed(
                "two_formats", "give format or template, not both: a template is a format", "template"
            )
        return template.NAME, template.check(endpoint_spec.template)
    if endpoint_spec.format == template.NAME:
        raise ValidationFailed(
            "missing_field",
            "a template belongs to the format template, and to standing endpoints: give it there",
            "template",
        )
    format = formats.detect_format(target.url) if endpoint_spec.format == "auto" else endpoint_spec.format
    if is_mail_url(target.url) != (format == "email"):
        text = "the format email belongs to a URL smtp://USER:PASSWORD@HOST/?from=...&to=..., and to no other"
        raise ValidationFailed("wrong_format", text, "format")
    detected = formats.detect_format(target.url)
    if endpoint_spec.format == "slack" and detected in _SLACK_SHAPED:
        text = f"this server shows Slack's blocks as an empty message; leave the format out, or give {detected}"
        raise ValidationFailed("wrong_format", text, "format")
    if endpoint_spec.format == "auto":
        return format, None
    if endpoint_spec.format not in formats.FORMATS:
        names = ", ".join(["auto", *formats.FORMATS])
        raise ValidationFailed("unknown_format", f"there is no format of this name; choose one of {names}", "format")
    return endpoint_spec.format, None


def check_signing(signing: SignatureScheme | None, secret: str | None) -> SignatureScheme:
    """The scheme with which an endpoint signs. Raises ValidationFailed for an invalid secret, or if both are given."""
    if secret is None:
        return signing or SignatureScheme.HMAC
    standard_webhooks.check_secret(secret)
    if signing is not None:
        text = "give secret or signing, not both: a secret says how it signs, whsec_ by HMAC, whsk_ by Ed25519"
        raise ValidationFailed("two_secrets", text, "signing")
    return standard_webhooks.scheme_of(secret)


def new_endpoint(
    validated: ValidatedEndpoint,
    *,
    kind: EndpointKind,
    now: Instant,
    random_bytes: bytes,
    name: str | None = None,
    source: str = "api",
) -> Endpoint:
    """A new endpoint, with the given secret or one made from `random_bytes`, which are `RANDOM_BYTES`."""
    return Endpoint(
        id=new_id("ep", now, random_bytes[:ID_BYTES]),
        kind=kind,
        name=name,
        url=validated.target.url,
        host=validated.target.host_port,
        format=validated.format,
        template=validated.template,
        events=validated.events,
        secrets=(Secret(validated.secret or standard_webhooks.new_secret(random_bytes[ID_BYTES:], validated.signing)),),
        headers=validated.headers,
        created_at=now,
        source=source,
        quiet=validated.quiet,
        digest=validated.digest,
        fallback=validated.fallback,
        outside_only=validated.outside_only,
    )

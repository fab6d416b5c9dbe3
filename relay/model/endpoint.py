"""Endpoints: the receivers of notifications."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from relay.model.event import EventType
from relay.times import Instant

PULL_URL = "pull:"
"""What an endpoint has in place of a URL if nothing is sent to it: its events are read from the feed."""


class EndpointKind(StrEnum):
    """`standing` endpoints get the events of every job, `ad_hoc` ones those of their registrations."""

    STANDING = "standing"
    AD_HOC = "ad_hoc"


@dataclass(frozen=True, slots=True)
class Secret:
    """A signing secret (`whsec_...`). A rotated one signs in addition to the new one until `until`."""

    value: str = field(repr=False)
    until: Instant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A subscriber: a URL with its format, events, secrets, headers and health."""

    id: str
    kind: EndpointKind
    name: str | None
    url: str = field(repr=False)
    host: str
    """`host:port` of the URL: what the per-host limits count."""
    format: str
    """Never `auto`, which is resolved when the endpoint is created."""
    template: str | None = field(default=None, repr=False)
    """For the format `template`: the body, as JSON with placeholders."""
    events: tuple[EventType, ...]
    secrets: tuple[Secret, ...] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)  # guard: secretless-repr
    created_at: Instant
    source: str = "api"
    """`config` or `api`. An endpoint of the configuration can be changed only there."""
    owner: str | None = None
    """The name of the API key with the scope `subscribe` that made it; None if an admin or the configuration did."""
    quiet: str | None = None
    """`22:00-07:00 Europe/Berlin`: when news of success are held; None: never."""
    digest: str | None = None
    """`5m`: how long news of success are gathered into one message; None: each is a message of its own."""
    fallback: str | None = None
    """The name of the endpoint that gets what finally failed at this one."""
    disabled_at: Instant | None = None
    disabled_reason: str | None = None
    paused_until: Instant | None = None
    failing_since: Instant | None = None
    """The first failed attempt since the last success; None while healthy."""
    failures: int = 0
    """Failed attempts since the last success."""
    outside_only: bool = False
    """Whether `security.allow_networks` does not apply to it, because a key without the scope admin registered it."""
    succeeded_at: Instant | None = None
    """The first success; None if no attempt has succeeded yet."""

    @property
    def is_pulled(self) -> bool:
        """Whether its subscriber reads the feed, with a cursor of its own; then it has no deliveries."""
        return self.url == PULL_URL

    @property
    def enabled(self) -> bool:
        return self.disabled_at is None

    @property
    def is_proven(self) -> bool:
        """Whether an attempt has succeeded, or an admin or the configuration added the endpoint.

        A registration adds an endpoint with any URL; until one attempt succeeds, it may be a host that never answers.
        """
        return self.succeeded_at is not None or self.kind is EndpointKind.STANDING

    @property
    def is_well(self) -> bool:
        """Whether the last attempt that was recorded succeeded: one more success changes nothing."""
        return self.succeeded_at is not None and not self.failures

    @property
    def format_identity(self) -> str:
        """The part of the format that distinguishes endpoints with the same URL: its name and its template."""
        return format_identity(self.format, self.template)


def format_identity(format: str, template: str | None) -> str:
    """The format's name, with the template if there is one."""
    return format if template is None else f"{format}:{template}"

"""The audit log: who did what, when, and with which credential."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from relay.times import Instant


class AuditAction(StrEnum):
    """What an entry of the audit log is about.

    Acts of operators and changes of what the relay trusts are recorded. Registrations are not: there may be thousands a
    minute, and each is a row of its own that names its API key.
    """

    ENDPOINT_CREATED = "endpoint.created"
    ENDPOINT_CHANGED = "endpoint.changed"
    ENDPOINT_DELETED = "endpoint.deleted"
    ENDPOINT_ENABLED = "endpoint.enabled"
    ENDPOINT_DISABLED = "endpoint.disabled"
    ENDPOINT_TESTED = "endpoint.tested"
    SECRET_ROTATED = "endpoint.secret_rotated"  # noqa: S105
    REGISTRATION_WITHDRAWN = "registration.withdrawn"
    DELIVERY_RESENT = "delivery.resent"
    DELIVERIES_RESENT = "deliveries.resent"
    REPLAY_STARTED = "replay.started"
    REPLAY_STOPPED = "replay.stopped"
    KEY_CREATED = "key.created"
    KEY_REVOKED = "key.revoked"
    CALLBACK_ROTATED = "callback.rotated"
    SENDING_SUSPENDED = "sending.suspended"
    SENDING_RESUMED = "sending.resumed"
    SENDING_DISCARDED = "sending.discarded"
    STORE_RESTORED = "store.restored"
    STORE_REENCRYPTED = "store.reencrypted"
    LOGIN = "login"
    LOGIN_FAILED = "login.failed"
    REFUSED = "refused"


class Via(StrEnum):
    """The way by which somebody acted."""

    API = "api"
    DASHBOARD = "dashboard"
    COMMAND = "command"
    """A command that works on the store itself, where the relay runs."""
    CONFIGURATION = "configuration"
    RELAY = "relay"
    """The relay itself, for a reason that the entry names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts: the credential by whose rights it is done, as it is now."""

    via: Via
    key: str | None = None
    """The name of the API key; None without one."""
    key_id: str | None = None
    """`key_...` for a key of the store, `configuration` for one of the file, `local` for the token of a relay without
    keys."""
    user: str | None = None
    """The person, as a proxy or the operating system names them."""
    address: str | None = None
    """The client's address."""

    @property
    def name(self) -> str | None:
        """Who it is in a word: the person, else the key; None if neither is known."""
        return self.user or self.key


THE_CONFIGURATION = Actor(via=Via.CONFIGURATION)
THE_RELAY = Actor(via=Via.RELAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One act."""

    id: str
    at: Instant
    action: AuditAction
    actor: Actor
    target: str | None
    """The id of what it was done to."""
    name: str | None
    """The name that the target had then."""
    detail: Mapping[str, object] = field(default_factory=dict)
    """Counts, names of fields and filters; never a URL, a secret or what a prompt says."""

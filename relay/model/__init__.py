"""The words of the relay as values: what its parts hand to each other.

Every instant is an `Instant`: whole milliseconds since 1970-01-01T00:00Z. All values are frozen; a change is a new
value (`dataclasses.replace`). One file has one word; all of them are imported from here.
"""

from relay.model.audit import THE_CONFIGURATION, THE_RELAY, Actor, AuditAction, AuditEntry, Via
from relay.model.delivery import Attempt, Delivery, DeliveryStatus
from relay.model.digest import UNGATHERED, InvalidDigest, digest_due, parse_digest
from relay.model.due_delivery import DueDelivery
from relay.model.endpoint import PULL_URL, Endpoint, EndpointKind, Secret, format_identity
from relay.model.event import (
    ENDINGS_AT_EXEC,
    FINAL_EVENTS,
    OPERATOR_WORKSPACE,
    AnyEventType,
    DigestEventType,
    Event,
    EventContext,
    EventType,
    OperatorEventType,
    ReplacedEvent,
    event_id,
    parse_event_type,
)
from relay.model.ids import ID_BYTES, JOB_ID, new_id, new_token
from relay.model.job import ScenarioJob
from relay.model.living_message import LivingMessage, MessageState
from relay.model.quiet_hours import InvalidQuietHours, parse_quiet_hours, quiet_until
from relay.model.registration import Registration, RegistrationStatus
from relay.model.replay import Replay
from relay.model.watch import Watch, WatchState
from relay.times import DAY, HOUR, MINUTE, SECOND, Instant, from_rfc3339, to_rfc3339

__all__ = [
    "DAY",
    "ENDINGS_AT_EXEC",
    "FINAL_EVENTS",
    "HOUR",
    "ID_BYTES",
    "JOB_ID",
    "MINUTE",
    "OPERATOR_WORKSPACE",
    "PULL_URL",
    "SECOND",
    "THE_CONFIGURATION",
    "THE_RELAY",
    "UNGATHERED",
    "Actor",
    "AnyEventType",
    "Attempt",
    "AuditAction",
    "AuditEntry",
    "Delivery",
    "DeliveryStatus",
    "DigestEventType",
    "DueDelivery",
    "Endpoint",
    "EndpointKind",
    "Event",
    "EventContext",
    "EventType",
    "Instant",
    "InvalidDigest",
    "InvalidQuietHours",
    "LivingMessage",
    "MessageState",
    "OperatorEventType",
    "Registration",
    "RegistrationStatus",
    "ReplacedEvent",
    "Replay",
    "ScenarioJob",
    "Secret",
    "Via",
    "Watch",
    "WatchState",
    "digest_due",
    "event_id",
    "format_identity",
    "from_rfc3339",
    "new_id",
    "new_token",
    "parse_digest",
    "parse_event_type",
    "parse_quiet_hours",
    "quiet_until",
    "to_rfc3339",
]

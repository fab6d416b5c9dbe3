"""The tables. Instants are BIGINT milliseconds, JSON is TEXT: the same on SQLite and PostgreSQL.

An index named `*_due` holds only rows that wait, so that the cost of a lease depends on due rows, not on all rows.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, Table, Text, false

metadata = MetaData()


def _instant(name: str, nullable: bool = True) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default="0")


def _text(name: str, nullable: bool = False, primary_key: bool = False) -> Column[str]:
    return Column(name, Text, nullable=nullable, primary_key=primary_key)


workspaces = Table(
    "workspaces",
    metadata,
    _text("name", primary_key=True),
    _text("ledger", nullable=True),
    _text("durations", nullable=True),
    _text("arrivals", nullable=True),
    _instant("paused_until"),
    _text("pause_reason", nullable=True),
    _text("pause_kind", nullable=True),
    _count("consecutive_failures"),
)
"""One row for each workspace, shared by all relays: spent requests, learned durations and arrivals, pause."""

watches = Table(
    "watches",
    metadata,
    _text("workspace", primary_key=True),
    _text("job_id", primary_key=True),
    _text("state"),
    _instant("created_at", nullable=False),
    _text("job", nullable=True),
    _count("polls"),
    _instant("last_poll_at"),
    _instant("next_poll_at"),
    _text("next_poll_reason"),
    _count("failures"),
    _count("not_found_count"),
    _instant("not_found_since"),
    _text("last_error", nullable=True),
    _instant("ended_at"),
    Column("leased", Boolean, nullable=False),
    Column("exec_callback", Boolean, nullable=False, server_default=false()),
    _instant("callback_received_at"),
    _count("unconfirmed_hints"),
    _instant("unconfirmed_since"),
    _text("given_up_event_id", nullable=True),
    _text("trace", nullable=True),
    _text("owner", nullable=True),
)
Index(
    "watches_due",
    watches.c.workspace,
    watches.c.next_poll_at,
    sqlite_where=watches.c.next_poll_at.is_not(None),
    postgresql_where=watches.c.next_poll_at.is_not(None),
)
Index(
    "watches_hinted_due",
    watches.c.workspace,
    watches.c.callback_received_at,
    sqlite_where=watches.c.callback_received_at.is_not(None) & watches.c.next_poll_at.is_not(None),
    postgresql_where=watches.c.callback_received_at.is_not(None) & watches.c.next_poll_at.is_not(None),
)
Index(
    "watches_unconfirmed",
    watches.c.workspace,
    watches.c.unconfirmed_since,
    sqlite_where=watches.c.unconfirmed_since.is_not(None),
    postgresql_where=watches.c.unconfirmed_since.is_not(None),
)
Index("watches_by_time", watches.c.created_at, watches.c.job_id)
Index("watches_by_state", watches.c.state, watches.c.created_at, watches.c.job_id)
Index("watches_by_job", watches.c.job_id)
_leased = watches.c.leased.is_(True)
Index("watches_leased", watches.c.next_poll_at, sqlite_where=_leased, postgresql_where=_leased)
Index(
    "watches_ended",
    watches.c.ended_at,
    sqlite_where=watches.c.ended_at.is_not(None),
    postgresql_where=watches.c.ended_at.is_not(None),
)

callback_tokens = Table(
    "callback_tokens",
    metadata,
    _text("workspace", primary_key=True),
    _text("token"),
    _text("old_token", nullable=True),
    _instant("old_token_valid_until"),
    _instant("last_callback_at"),
)
"""The token in a workspace's callback URL, by which the relay recognises Exec's callbacks."""

polls = Table(
    "polls",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    _text("workspace"),
    _text("job_id"),
    _instant("at", nullable=False),
    _count("duration_ms"),
    _text("outcome"),
    _text("detail"),
)
Index("polls_of_job", polls.c.workspace, polls.c.job_id, polls.c.id)

endpoints = Table(
    "endpoints",
    metadata,
    _text("id", primary_key=True),
    _text("kind"),
    _text("name", nullable=True),
    _text("fingerprint"),
    _text("url"),
    _text("host"),
    _text("format"),
    _text("template", nullable=True),
    _text("events"),
    _text("secrets"),
    _text("headers"),
    _instant("created_at", nullable=False),
    _text("source"),
    _text("owner", nullable=True),
    _text("quiet", nullable=True),
    _text("digest", nullable=True),
    _text("fallback", nullable=True),
    _instant("disabled_at"),
    _text("disabled_reason", nullable=True),
    _instant("paused_until"),
    _instant("failing_since"),
    _count("failures"),
    _instant("succeeded_at"),
    _instant("next_slot_at"),
    Column("outside_only", Boolean, nullable=False, server_default=false()),
    _instant("tested_at"),
)
Index("endpoints_by_name", endpoints.c.name, unique=True)
Index("endpoints_by_fingerprint", endpoints.c.fingerprint, unique=True)
Index("endpoints_by_time", endpoints.c.created_at, endpoints.c.id)
Index("endpoints_of_kind", endpoints.c.kind, endpoints.c.created_at, endpoints.c.id)
_failing = endpoints.c.disabled_at.is_not(None) | endpoints.c.failing_since.is_not(None)
Index("endpoints_failing", endpoints.c.failing_since, sqlite_where=_failing, postgresql_where=_failing)

registrations = Table(
    "registrations",
    metadata,
    _text("id", primary_key=True),
    _text("workspace"),
    _text("job_id"),
    _text("endpoint_id"),  # '' if the job is watched for the standing endpoints only
    _text("status"),
    _text("events"),
    _text("metadata"),
    _instant("created_at", nullable=False),
    _text("trace", nullable=True),
    _text("owner", nullable=True),
    _text("requested_by", nullable=True),
    _text("prompt", nullable=True),
    _text("request_id", nullable=True),
)
Index(
    "registrations_once",
    registrations.c.workspace,
    registrations.c.job_id,
    registrations.c.endpoint_id,
    unique=True,
    sqlite_where=registrations.c.status != "withdrawn",
    postgresql_where=registrations.c.status != "withdrawn",
)
Index("registrations_by_time", registrations.c.created_at, registrations.c.id)
Index("registrations_by_status", registrations.c.status, registrations.c.created_at, registrations.c.id)
Index("registrations_of_job", registrations.c.job_id, registrations.c.created_at)
Index("registrations_of_endpoint", registrations.c.endpoint_id, registrations.c.created_at)

events = Table(
    "events",
    metadata,
    _text("id", primary_key=True),
    _text("workspace"),
    _text("job_id"),
    _text("type"),
    _instant("occurred_at", nullable=False),
    _text("job"),
    _instant("created_at", nullable=False),
    Column("position", BigInteger),
    _text("replaces_event_id", nullable=True),
    _text("replaces_type", nullable=True),
    Column("context", Text, nullable=False, server_default="{}"),
)
Index("events_of_job", events.c.workspace, events.c.job_id)
Index("events_by_time", events.c.created_at, events.c.id)
Index("events_by_type", events.c.type, events.c.created_at, events.c.id)
Index("events_by_position", events.c.position, unique=True)
_unnumbered = events.c.position.is_(None) & (events.c.workspace != "")
Index("events_unnumbered", events.c.created_at, events.c.id, sqlite_where=_unnumbered, postgresql_where=_unnumbered)

event_feed = Table(
    "event_feed",
    metadata,
    _text("name", primary_key=True),
    Column("position", BigInteger, nullable=False),
    _text("identity", nullable=True),
    _text("storage", nullable=True),
)
"""The order of the events (`tables/event_feed.py`): row `head` has the last position and which feed it is, row `pruned`
the last position that retention deleted."""

deliveries = Table(
    "deliveries",
    metadata,
    _text("id", primary_key=True),
    _text("event_id"),
    _text("event_type"),
    _text("workspace"),
    _text("job_id"),
    _text("endpoint_id"),
    _text("registration_id", nullable=True),
    _text("host"),
    _text("status"),
    Column("body", LargeBinary, nullable=False),
    _count("attempts"),
    _count("attempts_in_run"),
    _text("trigger"),
    _instant("created_at", nullable=False),
    _instant("next_attempt_at"),
    _text("leased_by", nullable=True),
    _instant("ended_at"),
    _text("reason", nullable=True),
    _text("trace", nullable=True),
    _text("owner", nullable=True),
    _text("digest_id", nullable=True),
    Column("status_code", Integer),
    _text("triggered_by", nullable=True),
)
Index("deliveries_once", deliveries.c.event_id, deliveries.c.endpoint_id, unique=True)
Index(
    "deliveries_due",
    deliveries.c.next_attempt_at,
    deliveries.c.host,
    sqlite_where=deliveries.c.next_attempt_at.is_not(None),
    postgresql_where=deliveries.c.next_attempt_at.is_not(None),
)
Index(
    "deliveries_round_robin",
    deliveries.c.endpoint_id,
    deliveries.c.next_attempt_at,
    deliveries.c.id,
    sqlite_where=deliveries.c.next_attempt_at.is_not(None),
    postgresql_where=deliveries.c.next_attempt_at.is_not(None),
)
Index(
    "deliveries_of_digest",
    deliveries.c.digest_id,
    deliveries.c.endpoint_id,
    sqlite_where=deliveries.c.digest_id.is_not(None),
    postgresql_where=deliveries.c.digest_id.is_not(None),
)
Index("deliveries_by_time", deliveries.c.created_at, deliveries.c.id)
Index("deliveries_by_status", deliveries.c.status, deliveries.c.created_at, deliveries.c.id)
Index("deliveries_of_job", deliveries.c.job_id, deliveries.c.created_at)
Index("deliveries_of_endpoint", deliveries.c.endpoint_id, deliveries.c.status, deliveries.c.created_at, deliveries.c.id)
Index("deliveries_of_endpoint_by_time", deliveries.c.endpoint_id, deliveries.c.created_at, deliveries.c.id)

attempts = Table(
    "attempts",
    metadata,
    _text("id", primary_key=True),
    _text("delivery_id"),
    _count("number"),
    _text("trigger"),
    _instant("started_at", nullable=False),
    _count("duration_ms"),
    Column("status_code", Integer),
    _text("outcome"),
    _text("error", nullable=True),
    _text("response"),
    _text("triggered_by", nullable=True),
)
Index("attempts_of_delivery", attempts.c.delivery_id, attempts.c.number)

replays = Table(
    "replays",
    metadata,
    _text("id", primary_key=True),
    _text("endpoint_id"),
    _text("triggered_by", nullable=True),
    _instant("since", nullable=False),
    _instant("until", nullable=False),
    _instant("created_at", nullable=False),
    _instant("walked_at"),
    _text("walked_id", nullable=True),
    _count("sent"),
    _instant("ended_at"),
    _text("reason", nullable=True),
)
"""What was delivered to an endpoint in a stretch of time, sent again: how far each replay is."""
_active = replays.c.ended_at.is_(None)
Index("replays_active", replays.c.created_at, sqlite_where=_active, postgresql_where=_active)
Index("replays_of_endpoint", replays.c.endpoint_id, replays.c.created_at)

living_messages = Table(
    "living_messages",
    metadata,
    _text("workspace", primary_key=True),
    _text("job_id", primary_key=True),
    _text("endpoint_id", primary_key=True),
    _text("state"),
    _text("address"),
    _instant("posting_since", nullable=False),
    Column("mentioned", Boolean, nullable=False),
    _instant("leased_until"),
)
"""The message about one job in one chat, which changes: where it is, and whether a request for it is in flight."""

idempotency = Table(
    "idempotency",
    metadata,
    _text("key", primary_key=True),
    _text("request_hash"),
    Column("status", Integer, nullable=False),
    _text("answer"),
    _instant("created_at", nullable=False),
)
"""Responses stored by `Idempotency-Key`, in the transaction of their request."""
Index("idempotency_by_time", idempotency.c.created_at)

leader_leases = Table(
    "leader_leases",
    metadata,
    _text("name", primary_key=True),
    _text("owner"),
    _instant("until", nullable=False),
)
"""Work that one relay does for all: its owner, and until when the lease lasts."""

store_compatibility = Table(
    "store_compatibility",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    _text("oldest"),
    _text("closed", nullable=True),
)
"""One row, 0: the oldest version whose relays can work in these tables, and the reason if relays are locked out."""

import_parts = Table(
    "import_parts",
    metadata,
    _text("of", primary_key=True),
    Column("part", BigInteger, primary_key=True, autoincrement=False),
    _text("digest"),
)
"""The parts of another store's tables that `relay import` has copied into this one, with a digest of each."""

sessions = Table(
    "sessions",
    metadata,
    _text("id", primary_key=True),
    _text("key_hash"),
    _text("csrf"),
    _instant("expires_at", nullable=False),
)
"""The dashboard's sessions, by the hash of the cookie."""

api_keys = Table(
    "api_keys",
    metadata,
    _text("id", primary_key=True),
    _text("name"),
    _text("hash"),
    _text("scopes"),
    _instant("created_at", nullable=False),
    _instant("last_used_at"),
    _instant("revoked_at"),
)
"""API keys that `relay keys` created. The configuration may hold others."""
Index("api_keys_by_hash", api_keys.c.hash, unique=True)
Index(
    "api_keys_by_name",
    api_keys.c.name,
    unique=True,
    sqlite_where=api_keys.c.revoked_at.is_(None),
    postgresql_where=api_keys.c.revoked_at.is_(None),
)

sending = Table(
    "sending",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    _text("public_url", nullable=True),
    _text("instance", nullable=True),
    _instant("suspended_at"),
    _text("reason", nullable=True),
)
"""One row, 0: which relay last used the store, and since when nothing is sent, with the reason."""

audit = Table(
    "audit",
    metadata,
    _text("id", primary_key=True),
    _instant("at", nullable=False),
    _text("action"),
    _text("via"),
    _text("key_name", nullable=True),
    _text("key_id", nullable=True),
    _text("user_name", nullable=True),
    _text("address", nullable=True),
    _text("target", nullable=True),
    _text("name", nullable=True),
    _text("detail"),
)
"""The audit log. Its rows refer to nothing: they keep ids and names as they were."""
Index("audit_by_time", audit.c.at, audit.c.id)

__all__ = [
    "api_keys",
    "attempts",
    "audit",
    "callback_tokens",
    "deliveries",
    "endpoints",
    "event_feed",
    "events",
    "idempotency",
    "import_parts",
    "leader_leases",
    "living_messages",
    "metadata",
    "polls",
    "registrations",
    "replays",
    "sending",
    "sessions",
    "store_compatibility",
    "watches",
    "workspaces",
]

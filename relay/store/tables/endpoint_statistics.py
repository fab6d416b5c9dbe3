"""Statistics for the dashboard: which endpoints need attention, and how the attempts at one endpoint went.

Each query reads a bounded number of rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, BindParameter, Subquery, Text, and_, bindparam, exists, func, or_, select

from relay.model import MINUTE, DeliveryStatus, Endpoint, EndpointKind, Instant, RegistrationStatus, WatchState
from relay.store.engine.database import Tx
from relay.store.engine.schema import attempts, deliveries, endpoints, registrations, watches
from relay.store.tables import endpoints as endpoint_rows

ATTENTION_FAILURES = 3
"""Failed attempts in a row after which an endpoint needs attention."""
ATTENTION_AFTER = 5 * MINUTE
"""Milliseconds of failing after which an endpoint needs attention, with fewer failures too."""
MAX_DELIVERIES = 5_000
"""Statistics cover the attempts of so many deliveries of an endpoint, the newest."""
COUNTED_DELIVERIES = 200
"""Counts for a list of endpoints cover the attempts of so many deliveries of each, the newest."""
_RECENT_JOBS = 200
_RECENT_ENDPOINTS = 200
"""Endpoints of single jobs that are checked, those that failed last."""


@dataclass(frozen=True, slots=True)
class AttemptStatistics:
    """The attempts at an endpoint in a stretch of time; durations in milliseconds."""

    attempts: int
    succeeded: int
    median: int | None
    """None without a successful attempt."""
    p95: int | None

    @property
    def success_rate(self) -> float | None:
        """From 0 to 1; None without attempts."""
        return self.succeeded / self.attempts if self.attempts else None


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """A failed attempt and the delivery that it belongs to."""

    delivery_id: str
    job_id: str
    at: Instant
    error: str


def needing_attention(tx: Tx, now: Instant, limit: int) -> list[Endpoint]:
    """Endpoints that a person should check, the longest failing first.

    These are endpoints that are disabled, or fail three times in a row or for five minutes. An endpoint of a single
    job counts only while a delivery waits for it or a registration is active.
    """
    is_failing = and_(
        endpoints.c.failing_since.is_not(None),
        or_(endpoints.c.failures >= ATTENTION_FAILURES, endpoints.c.failing_since <= now - ATTENTION_AFTER),
    )
    since = func.coalesce(endpoints.c.failing_since, endpoints.c.disabled_at).label("since")
    in_index = or_(endpoints.c.disabled_at.is_not(None), endpoints.c.failing_since.is_not(None))
    failing = select(endpoints.c.id, endpoints.c.kind, since).where(
        in_index, or_(endpoints.c.disabled_at.is_not(None), is_failing)
    )
    standing = failing.where(endpoints.c.kind == EndpointKind.STANDING.value).order_by(since).limit(limit)
    newest = failing.order_by(endpoints.c.failing_since.desc()).limit(_RECENT_ENDPOINTS).subquery()
    has_pending = exists().where(
        deliveries.c.endpoint_id == newest.c.id, deliveries.c.status == DeliveryStatus.PENDING.value
    )
    has_registration = exists().where(
        registrations.c.endpoint_id == newest.c.id, registrations.c.status == RegistrationStatus.ACTIVE.value
    )
    is_waiting = and_(newest.c.kind == EndpointKind.AD_HOC.value, or_(has_pending, has_registration))
    waiting = select(newest).where(is_waiting).order_by(newest.c.since).limit(limit)
    candidates = sorted((*tx.execute(standing), *tx.execute(waiting)), key=lambda row: row.since)
    ids = [row.id for row in candidates[:limit]]
    rows = endpoint_rows.get_many(tx, ids)
    return [rows[id] for id in ids if id in rows]


def attempt_statistics(tx: Tx, endpoint_id: str, now: Instant, spans: Sequence[int]) -> list[AttemptStatistics]:
    """For each span in milliseconds: the statistics of the attempts that began in the span before `now`."""
    recent = _recent_deliveries(endpoint_id)
    query = (
        select(attempts.c.started_at, attempts.c.duration_ms, attempts.c.outcome)
        .join(recent, recent.c.id == attempts.c.delivery_id)
        .where(attempts.c.started_at > now - max(spans), attempts.c.started_at <= now)
    )
    rows = [(at, duration, outcome == "delivered") for at, duration, outcome in tx.execute(query)]
    return [_summarize([row for row in rows if row[0] > now - span]) for span in spans]


def count_attempts(tx: Tx, endpoint_id: str, since: Instant) -> tuple[int, int]:
    """How many attempts began since then, and how many of them succeeded; of the newest deliveries only."""
    row = tx.execute(_COUNT_ATTEMPTS, {"of": endpoint_id, "since": since}).one()
    return row[0], row[1]


def last_failures(tx: Tx, endpoint_id: str, limit: int) -> list[FailedAttempt]:
    """The newest failed attempts at an endpoint."""
    recent = _recent_deliveries(endpoint_id)
    query = (
        select(
            recent.c.id,
            recent.c.job_id,
            attempts.c.started_at,
            func.coalesce(attempts.c.error, attempts.c.outcome),
        )
        .join(recent, recent.c.id == attempts.c.delivery_id)
        .where(attempts.c.outcome != "delivered")
        .order_by(attempts.c.started_at.desc(), attempts.c.id.desc())
        .limit(limit)
    )
    return [FailedAttempt(*row) for row in tx.execute(query)]


def has_exec_answered(tx: Tx, workspace: str) -> bool:
    """Whether Exec has answered a poll of the workspace, as the newest jobs of all workspaces show."""
    columns = select(watches.c.workspace, watches.c.job, watches.c.state)
    newest = columns.order_by(watches.c.created_at.desc()).limit(_RECENT_JOBS).subquery()
    is_settled = or_(newest.c.job.is_not(None), newest.c.state == WatchState.NOT_FOUND.value)
    return (
        tx.execute(select(1).select_from(newest).where(newest.c.workspace == workspace, is_settled).limit(1)).scalar()
        is not None
    )


def _recent_deliveries(endpoint_id: str | BindParameter[str], limit: int = MAX_DELIVERIES) -> Subquery:
    return (
        select(deliveries.c.id, deliveries.c.job_id)
        .where(deliveries.c.endpoint_id == endpoint_id)
        .order_by(deliveries.c.created_at.desc(), deliveries.c.id.desc())
        .limit(limit)
        .subquery()
    )


_COUNTED = _recent_deliveries(bindparam("of", type_=Text), COUNTED_DELIVERIES)
_COUNT_ATTEMPTS = (
    select(func.count(), func.count().filter(attempts.c.outcome == "delivered"))
    .select_from(attempts.join(_COUNTED, _COUNTED.c.id == attempts.c.delivery_id))
    .where(attempts.c.started_at > bindparam("since", type_=BigInteger))
)
"""Built once: a page of endpoints asks for each of them, and building a statement costs more than running it."""


def _summarize(rows: Sequence[tuple[Instant, int, bool]]) -> AttemptStatistics:
    durations = sorted(duration for _, duration, succeeded in rows if succeeded)
    return AttemptStatistics(len(rows), len(durations), _quantile(durations, 0.5), _quantile(durations, 0.95))


def _quantile(ordered: Sequence[int], share: float) -> int | None:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else None

"""Queries of the dashboard: counts and delays of the last hours, and search.

Each query is bounded by the time or the number of rows that it reads, not by what the store holds.
"""

import json
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from sqlalchemy import Select, and_, func, or_, select

from relay.model import HOUR, Delivery, DeliveryStatus, Endpoint, EndpointKind, Instant, Watch, WatchState
from relay.store.engine.database import Tx
from relay.store.engine.schema import attempts, deliveries, endpoints, events, polls, registrations, watches
from relay.store.tables import endpoints as subscribers
from relay.store.tables import watches as watching

_RECENT = 20_000
"""How many of the newest jobs or endpoints a search reads."""

_SAMPLED = 200
"""How many jobs the mean number of polls is taken from."""


class HourlyCounts(NamedTuple):
    """The deliveries created in the hour that starts at `at`, by status."""

    at: Instant
    delivered: int
    failed: int
    pending: int


def by_hour(tx: Tx, since: Instant, until: Instant) -> list[HourlyCounts]:
    """One entry an hour from `since` (rounded down) to `until`, oldest first."""
    hour = (deliveries.c.created_at - deliveries.c.created_at % HOUR).label("hour")
    first = since - since % HOUR
    statuses = [status.value for status in (DeliveryStatus.DELIVERED, DeliveryStatus.FAILED, DeliveryStatus.PENDING)]
    query = (
        select(hour, deliveries.c.status, func.count())
        # The statuses are listed so that one index answers the query, without reading the rows.
        .where(deliveries.c.status.in_(statuses), deliveries.c.created_at >= first, deliveries.c.created_at < until)
        .group_by(hour, deliveries.c.status)
    )
    counts = {(at, status): count for at, status, count in tx.execute(query)}
    return [HourlyCounts(at, *(counts.get((at, status), 0) for status in statuses)) for at in range(first, until, HOUR)]


def delays(tx: Tx, since: Instant, limit: int) -> list[int]:
    """Milliseconds from a job's end, by Exec's time, to its delivery, for the newest `limit` created since `since`.

    Without endpoints that hold news on purpose, by a digest or by quiet hours.
    """
    query = (
        select(deliveries.c.ended_at - events.c.occurred_at)
        .join(events, events.c.id == deliveries.c.event_id)
        .outerjoin(endpoints, endpoints.c.id == deliveries.c.endpoint_id)
        .where(
            endpoints.c.digest.is_(None),
            endpoints.c.quiet.is_(None),
            deliveries.c.status == DeliveryStatus.DELIVERED.value,
            deliveries.c.created_at >= since,
            deliveries.c.trigger != "resend",
        )
        .order_by(deliveries.c.created_at.desc())
        .limit(limit)
    )
    return [max(delay, 0) for delay in tx.execute(query).scalars()]


def mean_polls_per_job(tx: Tx, workspace: str) -> float | None:
    """The mean number of polls of a workspace's last jobs; None if none has ended."""
    ended = select(watches.c.workspace, watches.c.state, watches.c.polls).where(watches.c.ended_at.is_not(None))
    recent = ended.order_by(watches.c.ended_at.desc()).limit(_RECENT).subquery()
    conditions = (recent.c.workspace == workspace, recent.c.state == WatchState.SETTLED.value)
    latest = select(recent.c.polls).where(*conditions).limit(_SAMPLED).subquery()
    mean = tx.execute(select(func.avg(latest.c.polls))).scalar()
    return None if mean is None else float(mean)


def search_jobs(tx: Tx, text: str, limit: int, among: int = _RECENT) -> list[Watch]:
    """The job with the id `text`, and newest jobs whose id starts with it, or whose scenario's name, metadata,
    requester or prompt contains it, or that were created with it as the request_id. Newest first."""
    named = select(watches.c.workspace, watches.c.job_id, watches.c.job)
    recent = named.order_by(watches.c.created_at.desc()).limit(among).subquery()
    begins = recent.c.job_id.startswith(text, autoescape=True)
    contains = func.lower(recent.c.job).contains(text.lower(), autoescape=True)
    by_id = select(watches.c.workspace, watches.c.job_id).where(watches.c.job_id == text).limit(limit)
    by_name = (
        select(recent.c.workspace, recent.c.job_id).where(or_(begins, contains)).execution_options(yield_per=limit)
    )
    registered = {(row.workspace, row.job_id) for row in tx.execute(_registered_with(text, among).limit(limit))}
    matches: dict[tuple[str, str], Watch] = {}
    with tx.execute(by_name) as named_rows:  # one after the other: of thousands with the same name few are read
        for workspace, job_id in chain(tx.execute(by_id), registered, named_rows):
            watch = watching.find(tx, job_id, workspace)
            is_named = watch is not None and (job_id.startswith(text) or text.lower() in name_of(watch).lower())
            if watch is not None and (is_named or (workspace, job_id) in registered):
                matches[workspace, job_id] = watch
            if len(matches) == limit:
                break
    return sorted(matches.values(), key=lambda watch: watch.created_at, reverse=True)


def _registered_with(text: str, among: int) -> Select[tuple[str, str]]:
    """Jobs among whose newest registrations one has `text` in its metadata, its requester or its prompt, or as its
    request_id."""
    names = ("workspace", "job_id", "metadata", "requested_by", "prompt", "request_id")
    columns = [registrations.c[name] for name in names]
    recent = select(*columns).order_by(registrations.c.created_at.desc()).limit(among).subquery()
    as_json = json.dumps(text, ensure_ascii=False)[1:-1].lower()
    contains = [
        func.lower(recent.c.metadata).contains(as_json, autoescape=True),
        func.lower(recent.c.requested_by).contains(text.lower(), autoescape=True),
        func.lower(recent.c.prompt).contains(text.lower(), autoescape=True),
        recent.c.request_id == text,
    ]
    return select(recent.c.workspace, recent.c.job_id).where(or_(*contains)).distinct()


def name_of(watch: Watch) -> str:
    """The scenario's name; "" if Exec has not sent it."""
    scenario = watch.job.scenario if watch.job else None
    return (scenario.name if scenario else None) or ""


def scenario_names(tx: Tx, page_rows: Sequence[Delivery]) -> dict[tuple[str, str], str]:
    """The scenarios' names for these deliveries' jobs, by workspace and job id, without jobs that have none."""
    keys = {(delivery.workspace, delivery.job_id) for delivery in page_rows}
    query = select(watches.c.workspace, watches.c.job_id, watches.c.job).where(watches.c.job.is_not(None))
    rows = tx.execute(query.where(watching.matches_jobs(watches, keys)))
    names = {(row.workspace, row.job_id): (json.loads(row.job).get("scenario") or {}).get("name") for row in rows}
    return {key: name for key, name in names.items() if isinstance(name, str)}


def last_errors(tx: Tx, page_rows: Sequence[Delivery]) -> dict[str, str]:
    """The error of the last attempt of each delivery that waits for another attempt, by delivery id."""
    waiting = {item.id for item in page_rows if item.status is DeliveryStatus.PENDING and item.attempts}
    query = (
        select(attempts.c.delivery_id, func.coalesce(attempts.c.error, attempts.c.outcome))
        .join(deliveries, and_(deliveries.c.id == attempts.c.delivery_id, deliveries.c.attempts == attempts.c.number))
        .where(attempts.c.delivery_id.in_(waiting))
    )
    return {row[0]: row[1] for row in tx.execute(query)} if waiting else {}


def search_endpoints(tx: Tx, text: str, limit: int, among: int = _RECENT) -> Sequence[Endpoint]:
    """The endpoint with the id `text`, and newest endpoints whose name or host contains it. Newest first."""
    columns = select(endpoints.c.id, endpoints.c.name, endpoints.c.host, endpoints.c.created_at)
    newest = columns.order_by(endpoints.c.created_at.desc()).limit(among)
    standing = newest.where(endpoints.c.kind == EndpointKind.STANDING.value)
    matches = {row.id: row.created_at for row in tx.execute(columns.where(endpoints.c.id == text))}
    for rows_of in (standing.subquery(), newest.subquery()):
        columns_of = (func.lower(rows_of.c.name), rows_of.c.host)
        contain = [column.contains(text.lower(), autoescape=True) for column in columns_of]
        rows = tx.execute(select(rows_of).where(or_(*contain)).order_by(rows_of.c.created_at.desc()).limit(limit))
        matches |= {row.id: row.created_at for row in rows}
    ids = sorted(matches, key=matches.__getitem__, reverse=True)[:limit]
    by_id = subscribers.get_many(tx, ids)
    return [by_id[id] for id in ids if id in by_id]


def change_token(tx: Tx) -> str:
    """A text that changes with every registration, endpoint, poll, enqueued delivery and attempt."""
    created = (table.c.created_at for table in (watches, registrations, deliveries, endpoints))
    newest = (polls.c.id, attempts.c.id, *created)
    return "-".join(str(tx.execute(select(func.max(column))).scalar()) for column in newest)

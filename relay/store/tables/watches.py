"""Watches: the jobs that the relay polls."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Integer,
    Row,
    Table,
    and_,
    bindparam,
    false,
    func,
    literal,
    or_,
    select,
    update,
)

from relay.model import Instant, RegistrationStatus, ScenarioJob, Watch, WatchState
from relay.model.watch import HELD_REASON
from relay.store.engine import dialect, paging
from relay.store.engine.database import Tx
from relay.store.engine.schema import registrations, watches, workspaces
from relay.store.tables.filters import JobFilter

_BY_KEY = and_(watches.c.workspace == bindparam("of"), watches.c.job_id == bindparam("of_job"))
_DUE = and_(
    watches.c.workspace == bindparam("of"),
    watches.c.next_poll_at.is_not(None),
    watches.c.next_poll_at <= bindparam("now", type_=BigInteger),
)
_LIMIT: BindParameter[int] = bindparam("limit", type_=Integer)

_LOCK = select(watches).where(_BY_KEY).with_for_update()
_LOCK_MANY = (
    select(watches)
    .where(watches.c.workspace == bindparam("of"), watches.c.job_id.in_(bindparam("jobs", expanding=True)))
    .order_by(watches.c.job_id)
    .with_for_update()
)
_LOCK_DUE = select(watches).where(_DUE).order_by(watches.c.next_poll_at).limit(_LIMIT).with_for_update(skip_locked=True)
_LOCK_DUE_HINTED = (
    select(watches)
    .where(
        _DUE,
        watches.c.callback_received_at.is_not(None),
        or_(watches.c.last_poll_at.is_(None), watches.c.last_poll_at < watches.c.callback_received_at),
    )
    .order_by(watches.c.callback_received_at)
    .limit(_LIMIT)
    .with_for_update(skip_locked=True)
)
_IS_UNCONFIRMED = and_(
    watches.c.owner.is_not(None),
    watches.c.job.is_(None),
    watches.c.not_found_count == 0,
    watches.c.failures == 0,
    watches.c.callback_received_at.is_(None),
)
"""`Watch.is_unconfirmed`, of a job that an API key registered and no callback has named."""
_NEXT_DUE = select(func.min(watches.c.next_poll_at)).where(
    watches.c.workspace == bindparam("of"), watches.c.next_poll_at.is_not(None)
)
_LONGEST_OVERDUE = (
    select(watches.c.owner).where(_DUE, _IS_UNCONFIRMED).order_by(watches.c.next_poll_at).limit(_LIMIT).subquery()
)
_DUE_UNCONFIRMED = select(_LONGEST_OVERDUE.c.owner, func.count()).group_by(_LONGEST_OVERDUE.c.owner)
_SAVE = update(watches).where(_BY_KEY)
_LEASE = update(watches).where(
    watches.c.workspace == bindparam("of"), watches.c.job_id.in_(bindparam("jobs", expanding=True))
)
_POLL_SOONER = _SAVE.where(watches.c.leased.is_(False), watches.c.next_poll_at > bindparam("at", type_=BigInteger))
"""Statements of every poll, built once: building one costs more than running it."""

_AWAITS_CALLBACK = watches.c.exec_callback & watches.c.callback_received_at.is_(None)
_USES_BUDGET = and_(watches.c.next_poll_at.is_not(None), ~_AWAITS_CALLBACK, watches.c.next_poll_reason != HELD_REASON)


def _row(watch: Watch) -> dict[str, Any]:
    return {
        "workspace": watch.workspace,
        "job_id": watch.job_id,
        "state": watch.state.value,
        "created_at": watch.created_at,
        "job": json.dumps(watch.job.raw(), ensure_ascii=False) if watch.job else None,
        "polls": watch.polls,
        "last_poll_at": watch.last_poll_at,
        "next_poll_at": watch.next_poll_at,
        "next_poll_reason": watch.next_poll_reason,
        "failures": watch.failures,
        "not_found_count": watch.not_found_count,
        "not_found_since": watch.not_found_since,
        "last_error": watch.last_error,
        "ended_at": watch.ended_at,
        "leased": False,
        "exec_callback": watch.exec_callback,
        "callback_received_at": watch.callback_received_at,
        "unconfirmed_hints": watch.unconfirmed_hints,
        "unconfirmed_since": watch.unconfirmed_since,
        "given_up_event_id": watch.given_up_event_id,
        "trace": watch.trace,
        "owner": watch.owner,
    }


def _watch(row: Row[Any]) -> Watch:
    values = dict(row._mapping)
    del values["leased"]
    values["state"] = WatchState(values["state"])
    values["job"] = ScenarioJob.model_validate_json(values["job"]) if values["job"] else None
    return Watch(**values)


def add(tx: Tx, watch: Watch) -> bool:
    """Adds a watch; False if the job has one already."""
    return bool(add_all(tx, [watch]))


def add_all(tx: Tx, new: Sequence[Watch]) -> set[tuple[Any, ...]]:
    """Adds watches, except for jobs that have one already. Returns (workspace, job id) of those added."""
    in_order = sorted(new, key=lambda watch: (watch.workspace, watch.job_id))
    return dialect.insert_new(tx, watches, [_row(watch) for watch in in_order])


def lock(tx: Tx, jobs: Iterable[tuple[str, str]]) -> None:
    """Locks the watches of these jobs (workspace, job id), and with them the jobs' registrations.

    Their workspaces are locked first: the writer may commit this with use cases that lock a workspace, while another
    relay holds that workspace and waits for one of these watches, which would be a deadlock.
    """
    if jobs := set(jobs):
        spaces = select(workspaces.c.name).where(workspaces.c.name.in_({workspace for workspace, _ in jobs}))
        tx.execute(spaces.order_by(workspaces.c.name).with_for_update()).all()
        query = (
            select(watches.c.job_id).where(matches_jobs(watches, jobs)).order_by(watches.c.workspace, watches.c.job_id)
        )
        tx.execute(query.with_for_update()).all()


def get_for_update(tx: Tx, workspace: str, job_id: str) -> Watch | None:
    """The watch of a job, locked until the transaction ends."""
    row = tx.execute(_LOCK, {"of": workspace, "of_job": job_id}).one_or_none()
    return _watch(row) if row else None


def get_many_for_update(tx: Tx, workspace: str, job_ids: Iterable[str]) -> dict[str, Watch]:
    """As `get_for_update`, for several jobs of a workspace, by job id."""
    return {row.job_id: _watch(row) for row in tx.execute(_LOCK_MANY, {"of": workspace, "jobs": list(job_ids)})}


def find(tx: Tx, job_id: str, workspace: str | None) -> Watch | None:
    """The watch of a job in a workspace; with None the newest in any workspace."""
    query = select(watches).where(watches.c.job_id == job_id)
    if workspace is not None:
        query = query.where(watches.c.workspace == workspace)
    row = tx.execute(query.order_by(watches.c.created_at.desc()).limit(1)).one_or_none()
    return _watch(row) if row else None


def lock_due(tx: Tx, workspace: str, now: Instant, limit: int) -> list[Watch]:
    """Locks active watches whose poll is due, longest overdue first; skips those that another transaction holds."""
    return [_watch(row) for row in tx.execute(_LOCK_DUE, {"of": workspace, "now": now, "limit": limit})]


def lock_due_hinted(tx: Tx, workspace: str, now: Instant, limit: int) -> list[Watch]:
    """As `lock_due`, for watches whose poll is due because of Exec's callback, the longest-waiting first."""
    return [_watch(row) for row in tx.execute(_LOCK_DUE_HINTED, {"of": workspace, "now": now, "limit": limit})]


def due_unconfirmed(tx: Tx, workspace: str, now: Instant, limit: int) -> dict[str, int]:
    """How many unconfirmed jobs are due, by API key: of the `limit` that are the longest overdue."""
    rows = tx.execute(_DUE_UNCONFIRMED, {"of": workspace, "now": now, "limit": limit})
    return {str(owner): number for owner, number in rows}


def hold_unconfirmed(tx: Tx, workspace: str, owner: str, keep: int, now: Instant, until: Instant) -> None:
    """Postpones the due unconfirmed jobs of an API key to `until`, except for the `keep` newest.

    The caller holds the workspace.
    """
    due = (_DUE, _IS_UNCONFIRMED, watches.c.owner == owner)
    newest = select(watches.c.job_id).where(*due).order_by(watches.c.created_at.desc(), watches.c.job_id).limit(_LIMIT)
    statement = update(watches).where(*due, watches.c.job_id.not_in(newest))
    values = {"next_poll_at": until, "next_poll_reason": HELD_REASON, "leased": False}
    tx.execute(statement.values(values), {"of": workspace, "now": now, "limit": keep})


def resume_held(tx: Tx, workspace: str, owner: str, now: Instant) -> None:
    """Makes the jobs of an API key due that `hold_unconfirmed` postponed. A leased one is being polled: it keeps its
    lease's end."""
    of_key = (watches.c.workspace == workspace, watches.c.owner == owner)
    tx.execute(update(watches).where(*of_key, *_is_held(now)), {"next_poll_at": now})


def resume_one(tx: Tx, watch: Watch, now: Instant) -> None:
    """As `resume_held`, for one watch."""
    tx.execute(update(watches).where(*_is(watch), *_is_held(now)), {"next_poll_at": now})


def _is_held(now: Instant) -> tuple[ColumnElement[bool], ...]:
    return watches.c.next_poll_at > now, watches.c.next_poll_reason == HELD_REASON, watches.c.leased.is_(False)


def set_hint(tx: Tx, watch: Watch, at: Instant, reason: str) -> None:
    """Records Exec's callback: the watch is polled at `at`, or sooner if that is planned. If the job is being polled
    right now, that poll will see the hint."""
    update_fields(tx, watch, callback_received_at=at)
    tx.execute(_POLL_SOONER, _key(watch) | {"at": at, "next_poll_at": at, "next_poll_reason": reason})


def postpone(tx: Tx, watch: Watch, at: Instant, reason: str) -> None:
    """Postpones a due poll to `at`."""
    tx.execute(_SAVE, _key(watch) | {"next_poll_at": at, "next_poll_reason": reason})


def update_fields(tx: Tx, watch: Watch, **values: Any) -> Watch:
    """Writes these values of a watch and no others, so that a concurrent poll keeps its own. Returns the new watch."""
    if any(getattr(watch, name) != value for name, value in values.items()):
        tx.execute(_SAVE, _key(watch) | values)
    return replace(watch, **values)


def _key(watch: Watch) -> dict[str, Any]:
    return {"of": watch.workspace, "of_job": watch.job_id}


def _is(watch: Watch) -> tuple[ColumnElement[bool], ...]:
    return watches.c.workspace == watch.workspace, watches.c.job_id == watch.job_id


def unconfirmed(tx: Tx, workspace: str, since: Instant, limit: int) -> int:
    """How many jobs only callbacks have named since `since`, neither Exec nor a registration; counted up to `limit`."""
    rows = (
        select(watches.c.job_id)
        .where(watches.c.workspace == workspace, watches.c.unconfirmed_since >= since)
        .limit(limit)
        .subquery()
    )
    return tx.execute(select(func.count()).select_from(rows)).scalar_one()


def next_due(tx: Tx, workspace: str) -> Instant | None:
    """When the next poll of the workspace is due; None if none is planned."""
    return tx.execute(_NEXT_DUE, {"of": workspace}).scalar()


def lease(tx: Tx, selected: Sequence[Watch], until: Instant) -> list[Watch]:
    """Leases the chosen watches of one workspace until `until`; after that, the relay that polls them counts as dead.

    This transaction has locked them, so the statement asks for their keys only: with a further condition SQLite would
    choose another index and scan all active watches.
    """
    [workspace] = {watch.workspace for watch in selected}
    jobs = [watch.job_id for watch in selected]
    tx.execute(_LEASE, {"of": workspace, "jobs": jobs, "next_poll_at": until, "leased": True})
    return [replace(watch, next_poll_at=until) for watch in selected]


def release_leases(tx: Tx, leased: Sequence[Watch], now: Instant) -> None:
    """Makes leased watches due again whose polls were not made; watches that another relay leased meanwhile stay."""
    for watch in leased:
        is_held = (watches.c.leased.is_(True), watches.c.next_poll_at == watch.next_poll_at)
        tx.execute(update(watches).where(*_is(watch), *is_held), {"next_poll_at": now, "leased": False})


def active(tx: Tx, workspace: str, limit: int) -> list[Watch]:
    """Active watches that use the request budget, due soonest first. Watches that wait for Exec's callback cost almost
    nothing and are left out, as are those that `hold_unconfirmed` postponed."""
    query = (
        select(watches)
        .where(watches.c.workspace == workspace, _USES_BUDGET)
        .order_by(watches.c.next_poll_at)
        .limit(limit)
    )
    return [_watch(row) for row in tx.execute(query)]


def count_polled(tx: Tx, workspace: str, limit: int) -> int:
    """How many watches `active` would return without a limit, counted up to `limit`.

    Ordered by the next poll, so that PostgreSQL uses the index and does not read the table, ended jobs included.
    """
    polled = (watches.c.workspace == workspace, _USES_BUDGET)
    matching = select(literal(1)).where(*polled).order_by(watches.c.next_poll_at).limit(limit).subquery()
    return tx.execute(select(func.count()).select_from(matching)).scalar_one()


def count_active(tx: Tx, workspace: str, limit: int) -> int:
    """How many jobs of the workspace are watched, counted up to `limit`."""
    waiting = (watches.c.workspace == workspace, watches.c.next_poll_at.is_not(None))
    matching = select(literal(1)).where(*waiting).order_by(watches.c.next_poll_at).limit(limit).subquery()
    return tx.execute(select(func.count()).select_from(matching)).scalar_one()


def save(tx: Tx, watch: Watch) -> None:
    """Writes all values of the watch and ends its lease."""
    save_all(tx, [watch])


def save_all(tx: Tx, changed: Iterable[Watch]) -> None:
    """As `save`, for several."""
    if rows := [_row(watch) | _key(watch) for watch in changed]:
        tx.execute(_SAVE, rows)


def release_all(tx: Tx, now: Instant) -> None:
    """Ends all leases, so that polls that a crash interrupted are due now. Only for a relay alone on the store."""
    tx.execute(update(watches).where(watches.c.leased.is_(True)), {"next_poll_at": now, "leased": False})


def retry_failed(tx: Tx, workspace: str, now: Instant) -> None:
    """Makes watches due now whose last poll failed, for when the cause of the failures is gone."""
    waiting = (watches.c.workspace == workspace, watches.c.next_poll_at > now, watches.c.leased.is_(False))
    failed = (watches.c.last_error.is_not(None), watches.c.not_found_count == 0)
    tx.execute(update(watches).where(*waiting, *failed), {"next_poll_at": now})


def withdraw_if_unwatched(tx: Tx, jobs: Iterable[tuple[str, str]], now: Instant) -> None:
    """Stops polling those of the jobs (workspace, job id) that have no active registration.

    The caller holds their watches (`lock`, `get_for_update`): otherwise a registration that is added concurrently is
    not seen here, and its job is never polled.
    """
    waits = (
        select(registrations.c.id)
        .where(registrations.c.workspace == watches.c.workspace, registrations.c.job_id == watches.c.job_id)
        .where(registrations.c.status == RegistrationStatus.ACTIVE.value)
        .exists()
    )
    ended = update(watches).where(matches_jobs(watches, jobs), watches.c.state == WatchState.ACTIVE.value, ~waits)
    over = {"next_poll_at": None, "next_poll_reason": "", "ended_at": now, "leased": False}
    tx.execute(ended, {"state": WatchState.WITHDRAWN.value, **over})


def matches_jobs(table: Table, jobs: Iterable[tuple[str, str]]) -> ColumnElement[bool]:
    """The condition for rows of these jobs (workspace, job id). SQLite uses no index for a list of pairs."""
    ids = defaultdict(list)
    for workspace, job_id in jobs:
        ids[workspace].append(job_id)
    return or_(
        false(), *(and_(table.c.workspace == workspace, table.c.job_id.in_(ids[workspace])) for workspace in ids)
    )


def page(tx: Tx, page: paging.Page, job_filter: JobFilter | None = None) -> tuple[list[Watch], str | None]:
    """One page of watches, newest first, and the cursor of the next (`paging.read_page`)."""
    job_filter = job_filter or JobFilter()
    order = (watches.c.created_at, watches.c.job_id, watches.c.workspace)
    query = select(watches).where(*job_filter.indexed)
    rows, cursor = paging.read_page(tx, query, order, page, job_filter.unindexed)
    return [_watch(row) for row in rows], cursor

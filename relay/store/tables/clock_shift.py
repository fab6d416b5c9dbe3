"""Pending times follow a clock that is set, so that nothing waits longer than intended.

A clock that is set forward makes pending work due; its times stay. A clock that is set back would delay everything by
as much: pending times go back with it. Times that were recorded since the relay started are shifted either way: they
were recorded by a wrong clock, and only their age counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from sqlalchemy import BigInteger, BindParameter, Column, Update, bindparam, func, or_, select, update

from relay.model import MINUTE, Instant, usage_ledger
from relay.model.usage_ledger import UsageLedger
from relay.store.engine import dialect
from relay.store.engine.database import LAST_SEEN, Tx
from relay.store.engine.schema import deliveries, endpoints, leader_leases, watches, workspaces
from relay.store.tables.workspaces import decode_ledger

_BY: BindParameter[int] = bindparam("by", type_=BigInteger)
_SINCE: BindParameter[int] = bindparam("since", type_=BigInteger)
_SET_AT: BindParameter[int] = bindparam("set_at", type_=BigInteger)

_WATCH_LEASED = watches.c.leased.is_(True)
_DELIVERY_LEASED = deliveries.c.leased_by.is_not(None)
_RECORDED = (
    *(
        watches.c[name]
        for name in ("created_at", "last_poll_at", "not_found_since", "callback_received_at", "unconfirmed_since")
    ),
    endpoints.c.failing_since,
)


def _shifted(column: Column[int], *conditions: object) -> Update:
    return update(column.table).where(column.is_not(None), *conditions).values({column.name: column + _BY})  # type: ignore[arg-type]


def _shifted_if_recent(column: Column[int]) -> Update:
    active = (watches.c.next_poll_at.is_not(None),) if column.table is watches else ()
    return _shifted(column, column >= _SINCE, column <= _SET_AT, *active)


_PLANNED_BEFORE: BindParameter[int] = bindparam("planned_before", type_=BigInteger)
_SHIFT_PENDING = tuple(
    _shifted(column, *conditions, column < _PLANNED_BEFORE)
    for column, *conditions in (
        (watches.c.next_poll_at, ~_WATCH_LEASED),
        (deliveries.c.next_attempt_at, deliveries.c.leased_by.is_(None)),
        (endpoints.c.paused_until,),
        (endpoints.c.next_slot_at,),
        (
            workspaces.c.paused_until,
            or_(workspaces.c.pause_kind.is_(None), workspaces.c.pause_kind != "rate_limited"),
        ),
    )
)
_LATEST: BindParameter[int] = bindparam("latest", type_=BigInteger)
_EARLIEST: BindParameter[int] = bindparam("earliest", type_=BigInteger)
_SHIFT_LEASES = tuple(
    _shifted(column, *conditions, column <= _LATEST, column >= _EARLIEST)
    for column, *conditions in (
        (watches.c.next_poll_at, _WATCH_LEASED),
        (deliveries.c.next_attempt_at, _DELIVERY_LEASED),
        (leader_leases.c.until,),
    )
)
_APART = 10 * MINUTE
"""After a correction by more than this, leases of the old clock end before it was found, or later than any that the new
clock gave."""
_NO_LIMIT = 2**62
_FOLLOWED, _STARTED, _SURE_FROM = "clock followed", "clock started", "clock sure from"
"""Rows of `leader_leases`, by the relay whose clock was set last. Their `until` is how many corrections of its clock
pending times followed in that run; when the run started, and when its clock can be trusted again, both by the clock as
it was set."""
_SHIFT_RECORDED = tuple(_shifted_if_recent(column) for column in _RECORDED)

_LOCK_LEDGERS = (
    select(workspaces.c.name, workspaces.c.ledger)
    .where(workspaces.c.ledger.is_not(None))
    .order_by(workspaces.c.name)
    .with_for_update()
)
_LEDGERS = select(workspaces.c.ledger).where(workspaces.c.ledger.is_not(None))
_SAVE_LEDGER = update(workspaces).where(workspaces.c.name == bindparam("of"))
_SAVE_PAUSE = _SAVE_LEDGER.where(workspaces.c.pause_kind == "rate_limited", workspaces.c.paused_until.is_not(None))


def shift_pending_times(
    tx: Tx, by: int, plans_by: int, since: Instant, now: Instant, found_at: Instant | None = None
) -> None:
    """Shifts times after the clock was set by `by` milliseconds. `since` is the relay's start, by the old clock, `now`
    the time by the new one, and `found_at` when it was found, `now` by default.

    Pending times are shifted by `plans_by`, forward only if they are before `found_at`: the new clock may have planned
    later ones already, which would be hours late; those of the old clock are that much early. Times recorded since the
    start, leases and spent requests are shifted by `by`. A lease that the new clock gave already stays: if the store
    failed meanwhile, there may be some. A time that was still to come by the old clock is not of it: an earlier run
    recorded it, before the clock was set back.
    """
    set_at = now - by
    found_at = now if found_at is None else found_at
    planned_before = found_at if plans_by > 0 else _NO_LIMIT
    for statement in _SHIFT_PENDING if plans_by else ():
        tx.execute(statement, {"by": plans_by, "planned_before": planned_before})
    latest, earliest = found_at if by > _APART else _NO_LIMIT, now + _APART if by < -_APART else -_NO_LIMIT
    for statement in _SHIFT_LEASES:
        tx.execute(statement, {"by": by, "latest": latest, "earliest": earliest})
    for statement in _SHIFT_RECORDED:
        tx.execute(statement, {"by": by, "since": since, "set_at": set_at})
    for row in tx.execute(_LOCK_LEDGERS).all():
        ledger = decode_ledger(row.ledger)
        shifted = usage_ledger.shifted(ledger, by) if by > 0 else usage_ledger.set_back(ledger, by, now)
        if not since <= ledger.limited_at <= set_at:  # the pause began by the right clock
            shifted = replace(shifted, limited_at=ledger.limited_at, paused_until=ledger.paused_until)
        else:
            tx.execute(_SAVE_PAUSE, {"of": row.name, "paused_until": shifted.paused_until})
        tx.execute(_SAVE_LEDGER, {"of": row.name, "ledger": shifted.to_json()})


def count_longer(tx: Tx, by: int, before: Instant) -> None:
    """Lets requests spent before `before` count `by` milliseconds longer, or shorter if it is negative."""
    _change_ledgers(tx, lambda ledger: usage_ledger.moved_before(ledger, by, before))


def count_minute_longer(tx: Tx, by: int, before: Instant) -> None:
    """As `count_longer`, for the minute's limit alone."""
    _change_ledgers(tx, lambda ledger: usage_ledger.minute_moved_before(ledger, by, before))


def _change_ledgers(tx: Tx, change: Callable[[UsageLedger], UsageLedger]) -> None:
    for row in tx.execute(_LOCK_LEDGERS).all():
        ledger = decode_ledger(row.ledger)
        if (changed := change(ledger)) != ledger:
            tx.execute(_SAVE_LEDGER, {"of": row.name, "ledger": changed.to_json()})


def last_spent(tx: Tx) -> Instant | None:
    """When the newest request that a ledger knows was spent, to the second; None if they know none."""
    ledgers = (decode_ledger(text) for text in tx.execute(_LEDGERS).scalars())
    seconds = [index for ledger in ledgers for index, _ in ledger.seconds]
    return max(seconds) * usage_ledger.BIN if seconds else None


def limit_pending_times(tx: Tx, clock: Callable[[], Instant], reach: int) -> None:
    """Limits pending times to now and `reach`, and spent requests to now, because a clock was ahead.

    Idempotent, so that each relay on a store may call it. Locks the workspaces, then reads the clock, so that all
    requests that other relays spent are in the past.
    """
    now = clock()
    parameters = {"now": now, "too_far": now + reach}
    for statement in _DUE_NOW:
        tx.execute(statement, parameters)
    _change_ledgers(tx, lambda ledger: usage_ledger.not_ahead(ledger, clock()))


_NOW: BindParameter[int] = bindparam("now", type_=BigInteger)
_TOO_FAR: BindParameter[int] = bindparam("too_far", type_=BigInteger)
_PENDING = (watches.c.next_poll_at, deliveries.c.next_attempt_at)
_DUE_NOW = tuple(
    update(column.table).where(column > _TOO_FAR).values({column.name: _NOW})
    for column in (*_PENDING, endpoints.c.paused_until, endpoints.c.next_slot_at)
)


def too_far(tx: Tx, names: Sequence[str], at: Instant) -> tuple[int, Instant | None]:
    """How many polls of these workspaces and deliveries are planned later than `at`, and the latest planned time."""
    attempts = select(deliveries.c.next_attempt_at.label("at")).where(deliveries.c.next_attempt_at > at)
    polls = [
        select(watches.c.next_poll_at).where(watches.c.workspace == name, watches.c.next_poll_at > at) for name in names
    ]
    planned = attempts.union_all(*polls).subquery()
    number, latest = tx.execute(select(func.count(), func.max(planned.c.at))).one()
    return number, latest


def last_seen(tx: Tx) -> Instant | None:
    """The newest instant that a relay on this store has recorded, to the minute; None in a new store."""
    return tx.execute(select(leader_leases.c.until).where(leader_leases.c.name == LAST_SEEN)).scalar()


def record_seen(tx: Tx, owner: str, now: Instant) -> None:
    """Records that the relay has seen this instant."""
    _record(tx, LAST_SEEN, owner, now)


def followed(tx: Tx, owner: str) -> int:
    """How many corrections of its clock pending times have followed in this run of a relay."""
    row = tx.execute(select(leader_leases).where(leader_leases.c.name == _FOLLOWED)).one_or_none()
    return row.until if row is not None and row.owner == owner else 0


def record_followed(tx: Tx, owner: str, corrections: int, started: Instant, sure_from: Instant) -> None:
    """Records that pending times have followed so many corrections in this run; after the shift, which shifts all."""
    for name, value in ((_FOLLOWED, corrections), (_STARTED, started), (_SURE_FROM, sure_from)):
        _record(tx, name, owner, value)


def doubtful_since(tx: Tx, now: Instant) -> Instant | None:
    """Since when earlier runs recorded times by a clock that can't be trusted yet; None if it can."""
    of_clock = select(leader_leases).where(leader_leases.c.name.in_((_STARTED, _SURE_FROM)))
    until = {row.name: row.until for row in tx.execute(of_clock)}
    return until[_STARTED] if until.get(_SURE_FROM, 0) > now else None


def _record(tx: Tx, name: str, owner: str, value: int) -> None:
    if not dialect.insert_new(tx, leader_leases, [{"name": name, "owner": owner, "until": value}]):
        tx.execute(update(leader_leases).where(leader_leases.c.name == name), {"owner": owner, "until": value})

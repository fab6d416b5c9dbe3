"""Plans: what is to be done when. They follow a clock that is set, so that nothing waits longer than it was to.

A clock that is set on makes due what would be due by now: what is planned stays as it is. One that is set back would
make everything wait for so much longer: then plans go back with it. What was only stamped since the relay started is
moved either way: it was stamped by a clock that was wrong, and what is judged by it is how long ago that was.
"""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import BigInteger, BindParameter, Column, Update, bindparam, func, or_, select, update

from relay.model import Instant, usage_ledger
from relay.store.engine import dialect
from relay.store.engine.database import LAST_SEEN, Tx
from relay.store.engine.schema import deliveries, endpoints, leader_leases, watches, workspaces
from relay.store.tables.workspaces import decode_ledger

_BY: BindParameter[int] = bindparam("by", type_=BigInteger)
_SINCE: BindParameter[int] = bindparam("since", type_=BigInteger)

_WATCH_LEASED = watches.c.leased.is_(True)
_DELIVERY_LEASED = deliveries.c.leased_by.is_not(None)
_STAMPS = (
    *(
        watches.c[name]
        for name in ("created_at", "last_poll_at", "not_found_since", "callback_received_at", "unconfirmed_since")
    ),
    endpoints.c.failing_since,
)


def _moved(column: Column[int], *which: object) -> Update:
    return update(column.table).where(column.is_not(None), *which).values({column.name: column + _BY})  # type: ignore[arg-type]


def _stamped(column: Column[int]) -> Update:
    active = (watches.c.next_poll_at.is_not(None),) if column.table is watches else ()
    return _moved(column, column >= _SINCE, *active)


_PLANS = (
    _moved(watches.c.next_poll_at, ~_WATCH_LEASED),
    _moved(deliveries.c.next_attempt_at, deliveries.c.leased_by.is_(None)),
    _moved(endpoints.c.paused_until),
    _moved(endpoints.c.next_slot_at),
    _moved(
        workspaces.c.paused_until, or_(workspaces.c.pause_kind.is_(None), workspaces.c.pause_kind != "rate_limited")
    ),
)
_LEASES = (
    _moved(watches.c.next_poll_at, _WATCH_LEASED),
    _moved(deliveries.c.next_attempt_at, _DELIVERY_LEASED),
    _moved(leader_leases.c.until),
)
_STAMPED = tuple(_stamped(column) for column in _STAMPS)

_LEDGERS = (
    select(workspaces.c.name, workspaces.c.ledger)
    .where(workspaces.c.ledger.is_not(None))
    .order_by(workspaces.c.name)
    .with_for_update()
)
_KEEP_LEDGER = update(workspaces).where(workspaces.c.name == bindparam("of"))
_KEEP_PAUSE = _KEEP_LEDGER.where(workspaces.c.pause_kind == "rate_limited", workspaces.c.paused_until.is_not(None))


def follow(tx: Tx, by: int, plans_by: int, since: Instant) -> None:
    """The clock was set by `by` milliseconds; `since` is when the relay started, by the clock as it was before.

    What is planned goes `plans_by` with it. What was stamped since then, leases, and what was spent go all the way.
    """
    for statement in _PLANS if plans_by else ():
        tx.execute(statement, {"by": plans_by})
    for statement in _LEASES:
        tx.execute(statement, {"by": by})
    for statement in _STAMPED:
        tx.execute(statement, {"by": by, "since": since})
    for row in tx.execute(_LEDGERS).all():
        ledger = decode_ledger(row.ledger)
        moved = usage_ledger.shifted(ledger, by)
        if ledger.limited_at < since:  # Exec's wait was begun by the right clock
            moved = replace(moved, limited_at=ledger.limited_at, paused_until=ledger.paused_until)
        else:
            tx.execute(_KEEP_PAUSE, {"of": row.name, "paused_until": moved.paused_until})
        tx.execute(_KEEP_LEDGER, {"of": row.name, "ledger": moved.to_json()})


def count_longer(tx: Tx, by: int, before: Instant) -> None:
    """What was spent before `before` counts `by` milliseconds longer; a negative number: shorter again."""
    for row in tx.execute(_LEDGERS).all():
        moved = usage_ledger.moved_before(decode_ledger(row.ledger), by, before)
        tx.execute(_KEEP_LEDGER, {"of": row.name, "ledger": moved.to_json()})


def forget_the_future(tx: Tx, now: Instant, reach: int) -> None:
    """Nothing is planned further ahead than `reach`, and nothing was spent later than now: a clock was ahead.

    Doing it twice does no more than once, so that each relay on a store may.
    """
    too_far = {"now": now, "too_far": now + reach}
    for statement in _NOW_INSTEAD:
        tx.execute(statement, too_far)
    for row in tx.execute(_LEDGERS).all():
        ledger = decode_ledger(row.ledger)
        if (kept := usage_ledger.not_ahead(ledger, now)) != ledger:
            tx.execute(_KEEP_LEDGER, {"of": row.name, "ledger": kept.to_json()})


_NOW: BindParameter[int] = bindparam("now", type_=BigInteger)
_TOO_FAR: BindParameter[int] = bindparam("too_far", type_=BigInteger)
_PLANNED = (watches.c.next_poll_at, deliveries.c.next_attempt_at)
_NOW_INSTEAD = tuple(
    update(column.table).where(column > _TOO_FAR).values({column.name: _NOW})
    for column in (*_PLANNED, endpoints.c.paused_until, endpoints.c.next_slot_at)
)


def too_far(tx: Tx, names: Sequence[str], at: Instant) -> tuple[int, Instant | None]:
    """How many polls of these workspaces, and deliveries, are planned later than `at`; and the latest of them."""
    attempts = select(deliveries.c.next_attempt_at.label("at")).where(deliveries.c.next_attempt_at > at)
    polls = [
        select(watches.c.next_poll_at).where(watches.c.workspace == name, watches.c.next_poll_at > at) for name in names
    ]
    some = attempts.union_all(*polls).subquery()
    number, latest = tx.execute(select(func.count(), func.max(some.c.at))).one()
    return number, latest


def last_seen(tx: Tx) -> Instant | None:
    """The newest instant that a relay on this store has seen, to the minute; None for a store of none yet."""
    return tx.execute(select(leader_leases.c.until).where(leader_leases.c.name == LAST_SEEN)).scalar()


def see(tx: Tx, owner: str, now: Instant) -> None:
    """The relay has seen this instant."""
    row = {"name": LAST_SEEN, "owner": owner, "until": now}
    if not dialect.insert_new(tx, leader_leases, [row]):
        tx.execute(update(leader_leases).where(leader_leases.c.name == LAST_SEEN), {"owner": owner, "until": now})

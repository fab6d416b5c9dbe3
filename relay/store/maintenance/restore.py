"""Restoring a backup: state that must not go back is carried over from the replaced store.

Sending is suspended: what the backup has to send may have been sent since. Spent requests stay spent. Revoked keys,
and rotated callback tokens and secrets, may be known to others and must not work again. The audit log stays whole.
Encrypted values are copied as they are: they are bound to their row, which has the same id.
"""

import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from relay.model import Actor, AuditAction, Instant, Via, to_rfc3339, usage_ledger
from relay.store.engine import dialect, migrate
from relay.store.engine.database import LAST_SEEN, Tx
from relay.store.engine.schema import deliveries, events, watches
from relay.store.tables import audit, clock_shift, sending
from relay.store.tables.workspaces import decode_ledger

_COUNTED = 100_000
"""Up to how many waiting deliveries are counted."""

_CARRY_OVER = (
    """UPDATE main.api_keys
       SET revoked_at = (SELECT old.revoked_at FROM replaced.api_keys old WHERE old.id = api_keys.id)
       WHERE revoked_at IS NULL
       AND id IN (SELECT id FROM replaced.api_keys WHERE revoked_at IS NOT NULL)""",
    "INSERT OR IGNORE INTO main.api_keys SELECT * FROM replaced.api_keys",
    "INSERT OR REPLACE INTO main.callback_tokens SELECT * FROM replaced.callback_tokens",
    "INSERT OR IGNORE INTO main.audit SELECT * FROM replaced.audit",
    """UPDATE main.endpoints SET secrets = (SELECT old.secrets FROM replaced.endpoints old WHERE old.id = endpoints.id)
       WHERE id IN (SELECT id FROM replaced.endpoints)""",
    """INSERT INTO main.leader_leases SELECT * FROM replaced.leader_leases WHERE name = 'clock'
       ON CONFLICT (name) DO UPDATE SET until = max(until, excluded.until)""",
)
_LEDGERS = "SELECT name, ledger FROM {}.workspaces WHERE ledger IS NOT NULL"
_SAVE_LEDGER = """INSERT INTO main.workspaces (name, ledger) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET ledger = excluded.ledger"""
_NAME = "coalesce(name, id)"
_ROTATED = """SELECT coalesce(main.endpoints.name, main.endpoints.id) FROM main.endpoints
    JOIN replaced.endpoints old USING (id) WHERE main.endpoints.secrets != old.secrets ORDER BY 1"""
_UNDELETED = f"""SELECT {_NAME} FROM main.endpoints WHERE id NOT IN (SELECT id FROM replaced.endpoints) ORDER BY 1"""  # noqa: S608
_KEYS = "SELECT name FROM main.api_keys WHERE revoked_at IS NULL ORDER BY name"
_STANDING = f"SELECT {_NAME} FROM main.endpoints WHERE kind = 'standing' ORDER BY 1"  # noqa: S608


_COMMAND = Actor(via=Via.COMMAND)


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restore. Endpoints and keys by name, endpoints without a name by id."""

    carried_over: bool
    """Whether the replaced store could be read."""
    keys: tuple[str, ...]
    """The keys that work now."""
    endpoints: tuple[str, ...]
    """The standing endpoints."""
    undeleted: tuple[str, ...] = ()
    """Endpoints that were deleted after the backup and exist again."""
    rotated: tuple[str, ...] = ()
    """Endpoints that keep the secret of the replaced store, which is newer than the backup's."""
    waiting: int = 0
    """Deliveries that wait until a person resumes sending, or discards them."""


def carry_over(
    copy: Path,
    replaced: Path | None,
    minute_limits: Mapping[str, int],
    now: Instant,
    actor: Actor = _COMMAND,
) -> Restored:
    """Upgrades the tables of a backup's copy, deletes its sessions, and carries state over from the replaced store.
    Suspends sending.

    If the replaced store can't be read, all requests of this minute count as spent: `minute_limits` gives their number
    for each workspace. Raises StoreError for a backup of a newer relay.
    """
    engine = dialect.engine(dialect.parse(f"sqlite:///{copy}"), writer=True, connections=1)
    try:
        migrate.upgrade(engine)
        with engine.begin() as tx:
            waiting = _suspend(tx, actor, now)
    finally:
        engine.dispose()
    with closing(sqlite3.connect(copy.absolute().as_uri(), uri=True, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE").fetchall()  # no second file holds data
        connection.execute("PRAGMA synchronous=FULL")
        undeleted: tuple[str, ...] = ()
        rotated: tuple[str, ...] = ()
        carried_over = False
        if replaced is not None:
            with suppress(sqlite3.DatabaseError):
                undeleted, rotated = _carry_over(connection, replaced)
                carried_over = True
        if not carried_over:
            _use_up_the_minute(connection, minute_limits, now)
        connection.execute("DELETE FROM sessions")
        # Readers of the event feed have cursors beyond the backup: they must not be taken for those of new events.
        connection.execute("UPDATE event_feed SET identity = lower(hex(randomblob(8))) WHERE name = 'head'")
        # The relay's clock does not go back behind what a relay has seen, so this machine's may be behind it.
        connection.execute(
            "UPDATE sending SET suspended_at = max(suspended_at, coalesce((SELECT until FROM leader_leases"
            " WHERE name = 'clock'), 0))"
        )
        keys, standing = _names(connection, _KEYS), _names(connection, _STANDING)
        return Restored(carried_over, keys, standing, undeleted, rotated, waiting)


def _suspend(tx: Tx, actor: Actor, now: Instant) -> int:
    """Suspends sending, with an entry in the audit log. Returns how many deliveries wait."""
    newest = [tx.execute(select(func.max(table.c.created_at))).scalar() for table in (watches, events, deliveries)]
    backup_of = max((at for at in (clock_shift.last_seen(tx), *newest) if at is not None), default=None)
    until = to_rfc3339(backup_of) if backup_of is not None else "an empty store"
    sending.suspend(tx, f"the store was restored from a backup of {until}", now)
    audit.add(tx, actor, AuditAction.STORE_RESTORED, now, backup_of=until)
    return sending.waiting(tx, _COUNTED)


def _carry_over(connection: sqlite3.Connection, replaced: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Endpoints deleted since the backup, and those with rotated secrets. Carries over everything or nothing.

    If the clock was set back since the backup, the relay goes on from the backup's last instant: what was spent in the
    replaced store's last minute is moved there.
    """
    connection.execute("ATTACH ? AS replaced", (replaced.absolute().as_uri() + "?mode=ro",))
    connection.execute("BEGIN")
    try:
        changed = _names(connection, _UNDELETED), _names(connection, _ROTATED)
        ledgers = dict(connection.execute(_LEDGERS.format("main")).fetchall())
        behind = max(0, _last_seen(connection, "main") - _last_seen(connection, "replaced"))
        for name, ledger in connection.execute(_LEDGERS.format("replaced")).fetchall():
            newer = usage_ledger.minute_later(decode_ledger(ledger), behind)
            spent = usage_ledger.merge(newer, decode_ledger(ledgers.get(name)))
            connection.execute(_SAVE_LEDGER, (name, spent.to_json()))
        for statement in _CARRY_OVER:
            connection.execute(statement)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return changed


def _use_up_the_minute(connection: sqlite3.Connection, minute_limits: Mapping[str, int], now: Instant) -> None:
    now = max(now, _last_seen(connection, "main"))
    ledgers = dict(connection.execute(_LEDGERS.format("main")).fetchall())
    for name, requests in minute_limits.items():
        used = usage_ledger.with_minute_spent(decode_ledger(ledgers.get(name)), requests, now)
        connection.execute(_SAVE_LEDGER, (name, used.to_json()))


def _last_seen(connection: sqlite3.Connection, store: str) -> Instant:
    """The last instant that a relay of this store saw; 0 if none has."""
    found = connection.execute(f"SELECT until FROM {store}.leader_leases WHERE name = ?", (LAST_SEEN,)).fetchone()  # noqa: S608
    return int(found[0]) if found else 0


def _names(connection: sqlite3.Connection, query: str) -> tuple[str, ...]:
    return tuple(name for (name,) in connection.execute(query).fetchall())

"""Upgrades the tables at start, with Alembic, and keeps relays out of a store in which they can't work.

Migrations only add, so that relays of earlier versions continue to work in the new tables. `OLDEST_COMPATIBLE` is the
oldest version for which that holds. It is written into the store, for relays that do not know the new version.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, Engine, Text, column, inspect, select, table, text, update

from relay.errors import StoreError, StoreNotReady
from relay.store.engine import dialect
from relay.store.engine.schema import store_compatibility

OLDEST_COMPATIBLE = "0001"
"""The oldest version of the tables whose relays can work in the tables of this version. A migration that changes or
removes something sets it to its own version: all relays must stop for that upgrade, and CHANGELOG.md says so."""

MIGRATIONS = Path(__file__).parents[1] / "migrations"
VERSIONS = (MIGRATIONS / "versions",)
"""Folders of the migrations of this version."""

_HOLDER = text(
    "SELECT locks.pid, xact_start AT TIME ZONE 'UTC' AS since"
    " FROM pg_locks locks LEFT JOIN pg_stat_activity USING (pid)"
    " WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname ="
    " current_database()) AND (classid::bigint << 32) + objid::bigint = :lock"
)

PATIENCE = 600.0
"""Seconds to wait for the lock of migrations."""
_TRY_EVERY = 0.5

Report = Callable[[str], None]
"""Gets what is done now, as a clause such as `the tables are upgraded, step 1 of 2`."""

Check = Callable[[Connection], None]
"""Raises StoreError if this relay must not work in a store. The tables are as they were found: older, or none."""

_VERSION = table("alembic_version", column("version_num", Text))

_LOCK = 0x5245_4C41_59  # 'RELAY': PostgreSQL's advisory lock of this purpose


@cache
def _known(versions: tuple[Path, ...]) -> tuple[str, ...]:
    """The versions of the tables that the migrations in these folders make, oldest first: each file's name begins with
    its version. Alembic would read and run all of them."""
    return tuple(sorted(file.name.partition("_")[0] for folder in versions for file in folder.glob("[0-9]*_*.py")))


def version_of(connection: Connection) -> str | None:
    """The version of the tables; None if there are none."""
    if not inspect(connection).has_table(_VERSION.name):
        return None
    return connection.execute(select(_VERSION.c.version_num)).scalar_one_or_none()


def newest(versions: Sequence[Path] = VERSIONS) -> str:
    """The version of the tables that this relay creates."""
    return _known(tuple(versions))[-1]


def needs_upgrade(connection: Connection, ignore_lock: str | None = None, versions: Sequence[Path] = VERSIONS) -> bool:
    """Whether the tables are missing or older than the newest of `versions`.

    Raises StoreError if relays are locked out of the store for another reason than `ignore_lock`, and if the tables
    are newer and this relay can't work in them.
    """
    current, known = version_of(connection), _known(tuple(versions))
    oldest, lock_reason = _compatibility(connection) if current is not None else (None, None)
    if lock_reason not in (None, ignore_lock):
        raise StoreError(str(lock_reason))
    if current in known or current is None:
        return current != known[-1]
    if oldest in known:
        return False
    raise StoreError(
        f"the store was made by a newer relay: its tables are at version {current}, in which relays since version "
        f"{oldest} can work, and this relay's are at version {known[-1]}; start that version, or "
        "restore a backup from before the upgrade"
    )


def upgrade(
    engine: Engine,
    ignore_lock: str | None = None,
    versions: Sequence[Path] = VERSIONS,
    to: str = "head",
    report: Report = lambda _: None,
    patience: float = PATIENCE,
    check: Check = lambda _: None,
) -> None:
    """Applies the missing migrations up to `to`; one relay does it while others wait.

    The lock and the migrations are in one transaction, so that the lock ends with it on whatever connection. `report`
    gets what is done now, as a clause. `check` runs before the first migration, also if none is missing.

    Raises StoreNotReady if another has the lock for longer than `patience` seconds; StoreError as `needs_upgrade` and
    `check` do, and DBAPIError if a table stays in use; then nothing changes.
    """
    give_up_at = time.monotonic() + patience
    while not _upgrade_unless_locked(engine, ignore_lock, versions, to, report, check):
        if time.monotonic() >= give_up_at:
            raise StoreNotReady(f"the tables can't be upgraded: {_holder(engine)}")
        report(_holder(engine))
        time.sleep(_TRY_EVERY)


def _upgrade_unless_locked(
    engine: Engine, ignore_lock: str | None, versions: Sequence[Path], to: str, report: Report, check: Check
) -> bool:
    """Applies the missing migrations. False if another relay has the lock."""
    with engine.begin() as connection:
        if not _acquire_lock(connection):
            return False
        is_outdated = needs_upgrade(connection, ignore_lock, versions)
        check(connection)
        if not is_outdated:
            if (current := version_of(connection)) != (own := newest(versions)):
                report(f"the tables are at version {current}, newer than this relay's {own}, which can work in them")
            return True
        _apply(connection, versions, to, report)
        if to == "head":
            _write(connection, oldest=OLDEST_COMPATIBLE)
    return True


def _apply(connection: Connection, versions: Sequence[Path], to: str, report: Report) -> None:
    """Applies the migrations up to `to`, within the transaction of the connection."""
    # Nearly all starts have nothing to apply: only this one pays for Alembic, a tenth of a start and 7 MiB.
    from alembic import command
    from alembic.config import Config

    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", os.pathsep.join(map(str, versions)).replace("%", "%%"))
    config.attributes |= {"connection": connection, "on_version_apply": _progress(connection, versions, report)}
    command.upgrade(config, to)


def _progress(connection: Connection, versions: Sequence[Path], report: Report) -> Callable[..., None]:
    """Reports the first step now; the returned function, called after each step, reports the next one."""
    current = version_of(connection) or ""
    total = sum(version > current for version in _known(tuple(versions)))
    steps = iter(range(2, total + 2))
    report(f"the tables are upgraded, step 1 of {total}")

    def applied(**_: object) -> None:
        if (step := next(steps, total)) <= total:
            report(f"the tables are upgraded, step {step} of {total}")

    return applied


def is_locked_out(connection: Connection) -> bool:
    """Whether relays may not start in the store."""
    return _compatibility(connection)[1] is not None


def lock_out(connection: Connection, reason: str | None) -> None:
    """Keeps relays from starting in the store; their error is `reason`. None lets them start again."""
    _write(connection, closed=reason)


def write_nothing(connection: Connection) -> None:
    """Updates a row to the values it has: fails if the database takes no writes."""
    connection.execute(update(store_compatibility).values(oldest=store_compatibility.c.oldest))


def _compatibility(connection: Connection) -> tuple[str | None, str | None]:
    if not inspect(connection).has_table(store_compatibility.name):
        return None, None
    row = connection.execute(select(store_compatibility.c.oldest, store_compatibility.c.closed)).one_or_none()
    return (row.oldest, row.closed) if row else (None, None)


def _write(connection: Connection, **values: str | None) -> None:
    dialect.insert_new(connection, store_compatibility, [{"id": 0, "oldest": OLDEST_COMPATIBLE}])
    connection.execute(update(store_compatibility), values)


def _acquire_lock(connection: Connection) -> bool:
    """Takes the lock of migrations until the transaction ends. False if another relay has it."""
    if connection.dialect.name != "postgresql":
        return True
    taken: bool = connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}).scalar_one()
    return taken


def _holder(engine: Engine) -> str:
    """Who has the lock of migrations, as a clause."""
    with engine.connect() as connection:
        row = connection.execute(_HOLDER, {"lock": _LOCK}).first()
    if row is None:
        return "another relay had the lock of migrations until now"
    since = f" since {row.since:%Y-%m-%dT%H:%M:%SZ}" if row.since is not None else ""
    return f"it waits for the lock of migrations, which process {row.pid} of PostgreSQL holds{since}"

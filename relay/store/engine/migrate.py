"""Upgrades the tables at start, with Alembic, and keeps relays out of a store in which they can't work.

Migrations only add, so that relays of earlier versions continue to work in the new tables. `OLDEST_COMPATIBLE` is the
oldest version for which that holds. It is written into the store, for relays that do not know the new version.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, select, text, update

from relay.errors import StoreError
from relay.store.engine import dialect
from relay.store.engine.schema import store_compatibility

OLDEST_COMPATIBLE = "0001"
"""The oldest version of the tables whose relays can work in the tables of this version. A migration that changes or
removes something sets it to its own version: all relays must stop for that upgrade, and CHANGELOG.md says so."""

MIGRATIONS = Path(__file__).parents[1] / "migrations"
VERSIONS = (MIGRATIONS / "versions",)
"""Folders of the migrations of this version."""

_LOCK = 0x5245_4C41_59  # 'RELAY': PostgreSQL's advisory lock of this purpose


def _config(versions: Sequence[Path]) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", os.pathsep.join(map(str, versions)).replace("%", "%%"))
    return config


def version_of(connection: Connection) -> str | None:
    """The version of the tables; None if there are none."""
    return MigrationContext.configure(connection).get_current_revision()


def newest(versions: Sequence[Path] = VERSIONS) -> str | None:
    """The version of the tables that this relay creates."""
    return ScriptDirectory.from_config(_config(versions)).get_current_head()


def needs_upgrade(connection: Connection, ignore_lock: str | None = None, versions: Sequence[Path] = VERSIONS) -> bool:
    """Whether the tables are missing or older than the newest of `versions`.

    Raises StoreError if relays are locked out of the store for another reason than `ignore_lock`, and if the tables
    are newer and this relay can't work in them.
    """
    current, scripts = version_of(connection), ScriptDirectory.from_config(_config(versions))
    revisions = {script.revision for script in scripts.walk_revisions()}
    oldest, lock_reason = _compatibility(connection) if current is not None else (None, None)
    if lock_reason not in (None, ignore_lock):
        raise StoreError(str(lock_reason))
    if current in revisions or current is None:
        return current != scripts.get_current_head()
    if oldest in revisions:
        return False
    raise StoreError(
        f"the store was made by a newer relay (its tables are at version {current}); "
        "start that version, or restore a backup from before the upgrade"
    )


def upgrade(
    engine: Engine, ignore_lock: str | None = None, versions: Sequence[Path] = VERSIONS, to: str = "head"
) -> None:
    """Applies the missing migrations up to `to`; one relay does it while others wait.

    Raises StoreError as `needs_upgrade` does, and DBAPIError if a table stays in use; then nothing changes.
    """
    config = _config(versions)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with engine.begin() as connection:
        _wait_for_others(connection)
        if not needs_upgrade(connection, ignore_lock, versions):
            return
        config.attributes["connection"] = connection
        command.upgrade(config, to)
        if to == "head":
            _write(connection, oldest=OLDEST_COMPATIBLE)


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


def _wait_for_others(connection: Connection) -> None:
    """Takes the lock of migrations until the transaction ends, however long that takes; tables in use get less time."""
    if connection.dialect.name == "postgresql":
        patience = connection.execute(text("SELECT current_setting('lock_timeout')")).scalar_one()
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        connection.execute(text("SELECT set_config('lock_timeout', :patience, true)"), {"patience": patience})

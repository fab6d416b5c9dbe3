"""Brings the tables up to date at start, with Alembic, and sees to it that relays work only where they may.

Migrations only add, so that relays of the version before, which are still at work or come back, can go on in the new
tables: `OLDEST_COMPATIBLE` says since which version that holds, and is written into the store for those who know no
better.
"""

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, select, text, update

from relay.errors import StoreError
from relay.store.engine import dialect
from relay.store.engine.schema import store_compatibility

OLDEST_COMPATIBLE = "0013"
"""The version of the tables whose relays can work in those of this version. A migration that does not only add sets it
to its own: then all relays have to be stopped for the upgrade, and CHANGELOG.md says so."""

_LOCK = 0x5245_4C41_59  # 'RELAY': PostgreSQL's advisory lock of this purpose


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations").replace("%", "%%"))
    return config


def version_of(connection: Connection) -> str | None:
    """The version of the tables; None where there are none."""
    return MigrationContext.configure(connection).get_current_revision()


def newest() -> str | None:
    """The version of the tables that this relay makes."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def needs_upgrade(connection: Connection, but: str | None = None) -> bool:
    """Whether the tables are older than this version's, or not there.

    Raises StoreError for a store in which no relay may work, unless that is because of `but`, and for newer tables in
    which this one can't.
    """
    current, scripts = version_of(connection), ScriptDirectory.from_config(_config())
    known = {script.revision for script in scripts.walk_revisions()}
    oldest, closed = _compatibility(connection) if current is not None else (None, None)
    if closed not in (None, but):
        raise StoreError(str(closed))
    if current in known or current is None:
        return current != scripts.get_current_head()
    if oldest in known:
        return False
    raise StoreError(
        f"the store was made by a newer relay (its tables are at version {current}); "
        "start that version, or restore a backup from before the upgrade"
    )


def upgrade(engine: Engine, to: str = "head", but: str | None = None) -> None:
    """Applies what is missing; one replica does it while the others wait. Raises StoreError as `needs_upgrade` does."""
    config = _config()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with engine.begin() as connection:
        _wait_for_others(connection)
        if not needs_upgrade(connection, but):
            return
        config.attributes["connection"] = connection
        command.upgrade(config, to)
        if to == "head":
            _write(connection, oldest=OLDEST_COMPATIBLE)


def is_locked_out(connection: Connection) -> bool:
    """Whether no relay may start in the store."""
    return _compatibility(connection)[1] is not None


def lock_out(connection: Connection, why: str | None) -> None:
    """From now on no relay may start in the store, and is told why; None: they may."""
    _write(connection, closed=why)


def write_nothing(connection: Connection) -> None:
    """Writes a row as it is."""
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
    """Until the transaction ends nobody else comes past here. That may take long; a table in use is waited for less."""
    if connection.dialect.name == "postgresql":
        patience = connection.execute(text("SELECT current_setting('lock_timeout')")).scalar_one()
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        connection.execute(text("SELECT set_config('lock_timeout', :patience, true)"), {"patience": patience})

"""Brings the tables up to date at start, with Alembic."""

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from relay.errors import StoreError

_LOCK = 0x5245_4C41_59  # 'RELAY': PostgreSQL's advisory lock of this purpose


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def version_of(connection: Connection) -> str | None:
    """The version of the tables; None where there are none."""
    return MigrationContext.configure(connection).get_current_revision()


def is_behind(connection: Connection) -> bool:
    """Whether the tables are older than this version's, or not there. Raises StoreError for newer ones."""
    current, scripts = version_of(connection), ScriptDirectory.from_config(_config())
    if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
        raise StoreError(
            f"the store was made by a newer relay (its tables are at version {current}); "
            "start that version, or restore a backup from before the upgrade"
        )
    return current != scripts.get_current_head()


def upgrade(engine: Engine) -> None:
    """Applies what is missing; one replica does it while the others wait. Raises StoreError for a newer store."""
    config = _config()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        if not is_behind(connection):
            return
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

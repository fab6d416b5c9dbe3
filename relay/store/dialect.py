"""The one place where SQLite and PostgreSQL differ."""

import fcntl
import os
import re
from collections.abc import AsyncGenerator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Insert,
    Table,
    create_engine,
    event,
    func,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.pool import QueuePool

from relay.errors import InUse, StoreError, ValueRefused
from relay.model import Instant

_BUSY_MS = 5_000

_NETWORK = {
    "application_name": "exec-relay",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
"""A database that is cut off is noticed within half a minute; without these, within hours."""

_BELL = "relay_bell"

_SESSION = {
    # A relay whose machine is gone in the middle of a transaction would hold its locks for hours.
    "idle_in_transaction_session_timeout": "15s",
    "tcp_keepalives_idle": "10s",
    "tcp_keepalives_interval": "5s",
    "tcp_keepalives_count": "3",
    "lock_timeout": "10s",
}
"""What the server is asked for, unless `options` in `storage.url` say otherwise. Our transactions take milliseconds."""


def parse(url: str) -> URL:
    """The database that a `storage.url` names. Raises StoreError for one that the relay can't use."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError("storage.url is not a database URL; try sqlite:///data/relay.db") from None
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise StoreError("storage.url names no file; try sqlite:///data/relay.db")
        return parsed.set(drivername="sqlite+pysqlite")
    if parsed.get_backend_name() in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg")
    raise StoreError(f"storage.url: the relay keeps its store in sqlite or postgresql, not {parsed.get_backend_name()}")


def named(url: URL, program: str) -> URL:
    """The same PostgreSQL, which knows its connections by this name."""
    return url.update_query_dict({"application_name": program})


def place(url: URL) -> str:
    """Where a PostgreSQL is, without who may enter it."""
    return f"postgresql://{url.host or 'localhost'}{f':{url.port}' if url.port else ''}/{url.database or ''}"


def is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def engine(url: URL, writer: bool, connections: int, **options: Any) -> Engine:
    """An engine whose connections are set up for the relay: durable commits, and for SQLite WAL and waiting.

    `options` are what each of its connections says under `get_execution_options`.
    """
    if not is_sqlite(url):
        return _postgresql(url, writer, connections, **options)
    made = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        connect_args={"timeout": 5},
        hide_parameters=True,
        execution_options=options,
    )

    @event.listens_for(made, "connect")
    def _set_up(connection: Any, _: object) -> None:
        # The driver's own implicit BEGIN would come too late for SAVEPOINT and BEGIN IMMEDIATE.
        connection.isolation_level = None
        for pragma in (f"busy_timeout={_BUSY_MS}", "journal_mode=WAL", "synchronous=FULL", "cache_size=-16000"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(made, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")

    return made


def _postgresql(url: URL, writer: bool, connections: int, **options: Any) -> Engine:
    """Reads see one snapshot, as they do in SQLite, and can't write."""
    reading = {} if writer else {"isolation_level": "REPEATABLE READ"}
    made = create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        connect_args=_wish(url),
        hide_parameters=True,
        execution_options={**options, "postgresql_readonly": not writer},
        **reading,
    )
    asked = str(url.query.get("options", ""))
    settings = "; ".join(f"SET {name} = '{value}'" for name, value in _SESSION.items() if name not in asked)

    @event.listens_for(made, "connect")
    def _set_up(connection: Any, _: object) -> None:
        # Not as the connection's own `options`: a pooler between us and the server refuses those.
        if settings:
            connection.execute(settings)
            connection.commit()

    return made


def _wish(url: URL) -> dict[str, str]:
    return {name: value for name, value in _NETWORK.items() if name not in url.query}


def now(tx: Connection) -> Instant:
    """PostgreSQL's clock, at this moment and not when the transaction began."""
    asked = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)")
    said: Instant = tx.execute(asked).scalar_one()
    return said


def ring(tx: Connection, ringer: str) -> None:
    """Wakes whoever reads `rings`. Nobody waits for the disk: a ring that is lost costs a tick."""
    rung = text("SELECT set_config('synchronous_commit', 'off', true), pg_notify(:bell, :ringer)")
    tx.execute(rung, {"bell": _BELL, "ringer": ringer})


async def rings(engine: Engine) -> AsyncGenerator[str]:
    """The ringers, on a connection of its own; once at the beginning ''. Raises StoreError when it is lost."""
    import psycopg  # PostgreSQL's driver is an extra

    wish: dict[str, Any] = {**engine.dialect.create_connect_args(engine.url)[1], **_wish(engine.url)}
    try:
        async with await psycopg.AsyncConnection.connect(**wish, autocommit=True) as connection:
            await connection.execute(f"LISTEN {_BELL}")
            yield ""
            async for heard in connection.notifies():
                yield heard.payload
    except psycopg.Error as error:
        raise StoreError(explain(error)) from error


def lock_file(url: URL) -> int:
    """Holds the SQLite file for this process, so that no two relays work in it. Returns the open descriptor.

    Raises StoreError where the folder is missing or can't be written, or another relay holds the file.
    """
    path = Path(str(url.database))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # guard: private-files
    except OSError as error:
        raise StoreError(
            f"the store {path} can't be opened: {error.strerror}; give storage.url a folder that this user may write to"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise InUse(
            f"the store {path} is in use by another relay; stop that one, or give this one its own storage.url "
            "(several relays on one store need postgresql)"
        ) from error
    return descriptor


def insert_new(tx: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> set[tuple[Any, ...]]:
    """INSERT, leaving out rows that a unique index already holds. Returns the primary keys of those that were new."""
    if not rows:
        return set()
    inserted = tx.execute(_insert_new(tx.dialect.name, table), rows if len(rows) > 1 else rows[0])
    return {tuple(key) for key in inserted}


def put(tx: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Writes rows, in the place of those with the same key where there are some. PostgreSQL only."""
    insert = postgresql.insert(table)
    others = {column.name: insert.excluded[column.name] for column in table.columns if not column.primary_key}
    tx.execute(insert.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=others), rows)


def number_on(tx: Connection, id: Column[int]) -> None:
    """PostgreSQL goes on after the highest number of a column that numbers itself."""
    sequence = func.pg_get_serial_sequence(id.table.name, id.name)
    tx.execute(select(func.setval(sequence, select(func.coalesce(func.max(id), 0) + 1).scalar_subquery(), False)))


def number_of_others(tx: Connection) -> int:
    """How many connections relays, or their imports, have to this PostgreSQL database, this one left out."""
    others = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND application_name LIKE 'exec-relay%'"
    )
    found: int = tx.execute(others).scalar_one()
    return found


@cache
def _insert_new(dialect: str, table: Table) -> Insert:
    """Made once for each table: to make and compile it costs more than to run it."""
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing().returning(*table.primary_key.columns)


_LOST = {"40001", "40P01"}
"""Serialisation, deadlock: another transaction was first."""
_WAITED = "55P03"


def may_be_repeated(error: DBAPIError) -> bool:
    """Whether a transaction that came to no commit may simply be done again: it lost to another, or its connection is
    gone, which a new one may not be."""
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _LOST


def is_of_one(error: DBAPIError) -> bool:
    """Whether one transaction is at fault; a full disk or a lost connection would be so for every other too."""
    return not isinstance(error, OperationalError) or getattr(error.orig, "sqlstate", None) in {*_LOST, _WAITED}


def told(error: DBAPIError) -> StoreError:
    """The database error as the relay's own."""
    kind = ValueRefused if isinstance(error, DataError | IntegrityError) else StoreError
    return kind(explain(error.orig))


def explain(error: BaseException | None) -> str:
    """What the driver's error means to the operator, without the statement or its values."""
    said = str(error).lower()
    for sign, meaning in _MEANINGS.items():
        if re.search(sign, said):
            return meaning
    return f"the store failed: {type(error).__name__}"


_MEANINGS = {
    "locked": "the store is locked by another process; close whatever else has the database open",
    "readonly": "the store can't be written: the file or its folder is read-only for this user",
    "read-only": "the store can't be written: the database is read-only",
    "full": "the store can't be written: the disk is full",
    "no space": "the store can't be written: the disk is full",
    "unable to open": "the store can't be opened: is its folder there, and may this user write to it?",
    "not a database": "the file that storage.url names is not a SQLite database",
    "malformed": "the SQLite file is damaged; restore it from a backup",
    "disk i/o": "the disk failed while the store was read or written",
    "lock timeout": "another transaction holds what is to be changed; does somebody else work in the database?",
    "too many": "PostgreSQL has no connection left; raise its max_connections, or run fewer relays",
    "connection slots": "PostgreSQL has no connection left; raise its max_connections, or run fewer relays",
    "database .* does not exist": "PostgreSQL has no such database; make it (`createdb`), or set storage.url right",
    "role .* does not exist": "PostgreSQL has no such user; make it (`createuser`), or set storage.url right",
    "password": "PostgreSQL refused the user or password of storage.url",
    "connection": "the database can't be reached; is PostgreSQL running, and is storage.url right?",
}

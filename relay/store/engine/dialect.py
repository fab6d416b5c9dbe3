"""All differences between SQLite and PostgreSQL."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack
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
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.pool import QueuePool
from sqlalchemy.sql.dml import ReturningInsert

from relay.errors import ConstraintViolation, StoreError, StoreNotReady
from relay.model import Instant
from relay.store.engine import driver_errors, file_lock

_BUSY_MS = 5_000

_NETWORK = {
    "application_name": "exec-relay",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "target_session_attrs": "read-write",
}
"""libpq detects a lost database within half a minute; without these it takes hours. It connects to no read-only server,
such as a standby: the connection would stay there after the primary is back."""

_CHANNEL = "relay_work"

_LISTEN_HEARTBEAT = 5.0
"""Seconds without a notification until the listening connection is tested, and seconds that it has for the answer."""

_SESSION_ID = text("SELECT pg_backend_pid()")

_SESSION = {
    # Without this, a relay that loses its machine in a transaction would hold its locks for hours.
    "idle_in_transaction_session_timeout": "15s",
    "tcp_keepalives_idle": "10s",
    "tcp_keepalives_interval": "5s",
    "tcp_keepalives_count": "3",
    "lock_timeout": "10s",
}
"""Settings of every session, unless `options` in `storage.url` sets them. Transactions here take milliseconds."""


def parse(url: str) -> URL:
    """The database of a `storage.url`. Raises StoreError for a database that the relay can't use."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError("storage.url is not a database URL; try sqlite:///data/relay.db") from None
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise StoreError("storage.url names no file; try sqlite:///data/relay.db")
        return parsed.set(drivername="sqlite+pysqlite")
    if parsed.get_backend_name() in {"postgresql", "postgres"}:
        if "@" in (parsed.host or ""):
            raise StoreError("storage.url: an @ in a user or password is written %40 (a : as %3A, a / as %2F)")
        return parsed.set(drivername="postgresql+psycopg")
    raise StoreError(f"storage.url: the relay keeps its store in sqlite or postgresql, not {parsed.get_backend_name()}")


def with_application_name(url: URL, program: str) -> URL:
    """The URL, with this name for its connections in `pg_stat_activity`."""
    return url.update_query_dict({"application_name": program})


def display_url(url: URL) -> str:
    """The URL of a PostgreSQL without user and password. A folder of sockets is on this machine: `localhost`."""
    named = url.query.get("host", ())
    hosts = ",".join(host for host in ([named] if isinstance(named, str) else named) if not host.startswith("/"))
    address = f"{url.host or hosts or 'localhost'}{f':{url.port}' if url.port else ''}"
    return f"postgresql://{address}/{url.database or ''}"


def is_sqlite(url: URL) -> bool:
    """Whether the URL names a SQLite file; else it names a PostgreSQL."""
    return url.get_backend_name() == "sqlite"


def engine(url: URL, writer: bool, connections: int, **options: Any) -> Engine:
    """An engine whose connections commit durably, and for SQLite use a write-ahead log and wait for locks.

    Each connection returns `options` from `get_execution_options`.
    """
    if not is_sqlite(url):
        return _postgresql(url, writer, connections, **options)
    created = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        connect_args={"timeout": 5},
        hide_parameters=True,
        execution_options=options,
    )

    @event.listens_for(created, "connect")
    def _set_up(connection: Any, _: object) -> None:
        # The driver's implicit BEGIN comes too late for SAVEPOINT and BEGIN IMMEDIATE.
        connection.isolation_level = None
        for pragma in (f"busy_timeout={_BUSY_MS}", "journal_mode=WAL", "synchronous=FULL", "cache_size=-16000"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(created, "begin")
    def _begin(connection: Connection) -> None:
        if writer:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:  # waits for no lock, so it can't fail, and a read has few statements that cost more
            driver: Any = connection.connection
            driver.execute("BEGIN").close()

    return created


def _postgresql(url: URL, writer: bool, connections: int, **options: Any) -> Engine:
    """An engine for PostgreSQL. Readers see one snapshot, as in SQLite, and can't write."""
    reading = {} if writer else {"isolation_level": "REPEATABLE READ"}
    try:
        import psycopg  # noqa: F401 (PostgreSQL's driver is an extra)
    except ImportError:
        raise StoreError(
            "storage.url names a PostgreSQL, and its driver is not installed: pip install 'exec-relay[postgres]'"
        ) from None
    created = create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        connect_args=_connect_args(url),
        use_native_hstore=False,  # no column has that type, and to learn its number is a query for each engine
        hide_parameters=True,
        execution_options={**options, "postgresql_readonly": not writer},
        **reading,
    )
    options_in_url = str(url.query.get("options", ""))
    settings = "; ".join(f"SET {name} = '{value}'" for name, value in _SESSION.items() if name not in options_in_url)

    @event.listens_for(created, "connect")
    def _set_up(connection: Any, _: object) -> None:
        # Not as `options` of the connection: a pooler between the relay and the server refuses those.
        if settings:
            connection.execute(settings)
            connection.commit()

    return created


def leave_standbys(writer: Engine, reader: Engine) -> None:
    """Drops all connections of both engines when a write fails because the server has become a standby."""

    @event.listens_for(writer, "handle_error")
    def _leave(context: ExceptionContext) -> None:
        if driver_errors.is_read_only(context.original_exception):
            context.is_disconnect = context.invalidate_pool_on_disconnect = True
            reader.dispose()


def refuse_transaction_pooler(writer: Engine, reader: Engine) -> None:
    """Raises StoreError if two connections share a session of the server, or one connection changes its session.

    Notifications, prepared statements and settings belong to a session. Each engine has at most one idle connection.
    """
    with writer.connect() as connection:
        first = connection.execute(_SESSION_ID).scalar_one()
    with reader.connect() as second_connection:
        second = second_connection.execute(_SESSION_ID).scalar_one()
        with writer.connect() as connection:
            first_session_again = connection.execute(_SESSION_ID).scalar_one()
    if first == second or first != first_session_again:
        raise StoreError(driver_errors.TRANSACTION_POOLER)


def _connect_args(url: URL) -> dict[str, str]:
    return {name: value for name, value in _NETWORK.items() if name not in url.query}


def now(tx: Connection) -> Instant:
    """PostgreSQL's time now, not at the start of the transaction."""
    query = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)")
    milliseconds: Instant = tx.execute(query).scalar_one()
    return milliseconds


def notify(tx: Connection, sender: str) -> None:
    """Wakes all readers of `listen`. Does not wait for the disk: a lost notification only costs a tick."""
    query = text("SELECT set_config('synchronous_commit', 'off', true), pg_notify(:channel, :sender)")
    tx.execute(query, {"channel": _CHANNEL, "sender": sender})


async def listen(engine: Engine) -> AsyncGenerator[str]:
    """The senders of `notify`, read on a separate connection; first ''. Raises StoreError if the connection is lost."""
    import psycopg  # PostgreSQL's driver is an extra

    arguments: dict[str, Any] = {**engine.dialect.create_connect_args(engine.url)[1], **_connect_args(engine.url)}
    try:
        connection = await psycopg.AsyncConnection.connect(**arguments, autocommit=True)
        try:
            await connection.execute(f"LISTEN {_CHANNEL}")
            yield ""
            while True:
                async for notification in connection.notifies(timeout=_LISTEN_HEARTBEAT):
                    yield notification.payload
                await _check_answers(connection)
        finally:
            await connection.close()
    except psycopg.Error as error:
        raise StoreError(driver_errors.explain(error)) from error


async def _check_answers(connection: Any) -> None:
    """Raises StoreError if the server does not answer on this connection: a firewall or a failover may have cut it
    without a word, and then no notification ever comes."""
    heartbeat = asyncio.ensure_future(connection.execute("SELECT 1"))
    await asyncio.wait({heartbeat}, timeout=_LISTEN_HEARTBEAT)
    if not heartbeat.done():
        await connection.close()  # cancelling would wait for the server's answer
        await asyncio.wait({heartbeat}, timeout=1)
        raise StoreError("the database no longer answers on the connection that listens")
    heartbeat.result()


def storable(text: str) -> str:
    """The text with each NUL character, which PostgreSQL does not store, replaced by U+FFFD."""
    return text.replace("\x00", "\ufffd")


def lock_file(url: URL) -> ExitStack:
    """Locks the SQLite file for this relay, as `file_lock.lock_file`."""
    return file_lock.lock_file(Path(str(url.database)))


def insert_new(tx: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> set[tuple[Any, ...]]:
    """INSERT of the rows that violate no unique index. Returns the primary keys of the inserted rows."""
    if not rows:
        return set()
    inserted = tx.execute(_insert_new_returning(tx.dialect.name, table), rows if len(rows) > 1 else rows[0])
    return {tuple(key) for key in inserted}


def upsert(tx: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Inserts rows, or updates those whose primary key exists. PostgreSQL only."""
    insert = postgresql.insert(table)
    updated_columns = {column.name: insert.excluded[column.name] for column in table.columns if not column.primary_key}
    tx.execute(insert.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=updated_columns), rows)


def raise_to(tx: Connection, table: Table, column: Column[int], row: dict[str, Any]) -> None:
    """Inserts the row; if its primary key exists, raises `column` to the row's value unless it is higher already."""
    insert = postgresql.insert if tx.dialect.name == "postgresql" else sqlite.insert
    query = insert(table)
    higher = query.excluded[column.name]
    tx.execute(
        query.on_conflict_do_update(
            index_elements=list(table.primary_key.columns), set_={column.name: higher}, where=column < higher
        ),
        row,
    )


def has_one_writer(database: Connection | Engine) -> bool:
    """Whether transactions of the database commit one after the other, so that no other writes while this one does."""
    return database.dialect.name == "sqlite"


def storage_identity(tx: Connection) -> str:
    """Names the database cluster and the database in it: a dump that is restored elsewhere has another one."""
    if tx.dialect.name == "sqlite":
        return "sqlite"
    oid = tx.execute(text("SELECT oid FROM pg_database WHERE datname = current_database()")).scalar_one()
    may_ask = text("SELECT has_function_privilege('pg_control_system()', 'execute')")
    cluster = ""
    if tx.execute(may_ask).scalar_one():
        cluster = tx.execute(text("SELECT system_identifier FROM pg_control_system()")).scalar_one()
    return f"postgresql:{cluster}:{oid}"


def reset_sequence(tx: Connection, id: Column[int]) -> None:
    """Lets PostgreSQL's sequence continue after the highest number of a numbered column."""
    sequence = func.pg_get_serial_sequence(id.table.name, id.name)
    tx.execute(select(func.setval(sequence, select(func.coalesce(func.max(id), 0) + 1).scalar_subquery(), False)))


def count_other_connections(tx: Connection) -> int:
    """How many other connections of relays or imports this PostgreSQL database has."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND application_name LIKE 'exec-relay%'"
    )
    count: int = tx.execute(query).scalar_one()
    return count


@cache
def insert_new_statement(dialect: str, table: Table) -> Insert:
    """INSERT that leaves out the rows that violate a unique index. Built once for each table: building and compiling it
    costs more than running it."""
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing()


@cache
def _insert_new_returning(dialect: str, table: Table) -> ReturningInsert[Any]:
    return insert_new_statement(dialect, table).returning(*table.primary_key.columns)


_LOST = {"40001", "40P01"}
"""Serialisation failure and deadlock: another transaction was first."""
_WAITED = "55P03"


def is_retryable(error: DBAPIError) -> bool:
    """Whether a transaction that was not committed may succeed if it is tried again: it lost to another one, or it lost
    its connection."""
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _LOST


def is_caused_by_statement(error: DBAPIError) -> bool:
    """Whether a statement causes the error. A full disk or a lost connection fails every other transaction too."""
    return not isinstance(error, OperationalError) or getattr(error.orig, "sqlstate", None) in {*_LOST, _WAITED}


def to_store_error(error: DBAPIError) -> StoreError:
    """The database's error as the relay's own, with a text for the operator."""
    kind: type[StoreError] = ConstraintViolation if isinstance(error, DataError | IntegrityError) else StoreError
    if isinstance(error, OperationalError) and driver_errors.is_temporary(error.orig):
        kind = StoreNotReady
    return kind(driver_errors.explain(error.orig))

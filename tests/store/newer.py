"""Later versions of the tables, and the changes that would stop the relays of this version in them."""

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, Inspector, inspect, text, update

from relay.store.engine import migrate
from relay.store.engine.schema import metadata, store_compatibility

NEWER = "9999"

NEXT_VERSIONS = (*migrate.VERSIONS, Path(__file__).parent / "next_version")
"""The migrations of this version, and one of a next version, which is `NEXT`."""
NEXT = "0002"


def make_newer(tx: Connection, oldest: str) -> None:
    """Changes the tables as a later version might: more columns, a table, an index; for relays since `oldest`."""
    for table in metadata.sorted_tables:
        tx.execute(text(f"ALTER TABLE {table.name} ADD COLUMN later TEXT"))
        tx.execute(text(f"ALTER TABLE {table.name} ADD COLUMN counted INTEGER DEFAULT 0 NOT NULL"))
    tx.execute(text("CREATE TABLE laters (id TEXT PRIMARY KEY)"))
    tx.execute(text("CREATE INDEX watches_later ON watches (later)"))
    tx.execute(text("UPDATE alembic_version SET version_num = :newer"), {"newer": NEWER})
    tx.execute(update(store_compatibility), {"oldest": oldest})


class Shape:
    """The tables of a database, their columns, and their unique keys."""

    def __init__(self, connection: Connection) -> None:
        seen = inspect(connection)
        self.columns = {
            (table, column["name"]): (str(column["type"]), column["nullable"] or column["default"] is not None)
            for table in seen.get_table_names()
            for column in seen.get_columns(table)
        }
        self.once = {(table, columns) for table in seen.get_table_names() for columns in _once(seen, table)}


def _once(seen: Inspector, table: str) -> Iterator[tuple[str | None, ...]]:
    yield tuple(seen.get_pk_constraint(table)["constrained_columns"])
    for unique in seen.get_unique_constraints(table):
        yield tuple(unique["column_names"])
    for index in seen.get_indexes(table):
        if index["unique"]:
            yield tuple(index["column_names"])


def breaks(before: Shape, after: Shape) -> list[str]:
    """The changes that stop relays of the version before."""
    old_tables = {table for table, _ in before.columns}
    changes = []
    for (table, name), (type, _) in before.columns.items():
        if (table, name) not in after.columns:
            changes.append(f"{table}.{name} is gone")
        elif after.columns[table, name][0] != type:
            changes.append(f"{table}.{name} is no longer {type}")
        elif before.columns[table, name][1] and not after.columns[table, name][1]:
            changes.append(f"{table}.{name} must be filled in now")
    for (table, name), (_, may_be_left_out) in after.columns.items():
        if table in old_tables and (table, name) not in before.columns and not may_be_left_out:
            changes.append(f"{table}.{name} must be filled in")
    changes += [f"{table}: {columns} once only" for table, columns in after.once - before.once if table in old_tables]
    return sorted(changes)

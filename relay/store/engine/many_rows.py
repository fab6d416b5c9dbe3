"""Statements for many rows: written once for SQLite and PostgreSQL, and compiled once, whatever the number of rows."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from typing import Any, TypeVar

from sqlalchemy import (
    JSON,
    URL,
    ColumnElement,
    Connection,
    Insert,
    LargeBinary,
    Table,
    Text,
    Update,
    bindparam,
    column,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from relay.store.engine import dialect

Values = Mapping[str, ColumnElement[Any]]
"""The values of a row, by name."""

_Insert = TypeVar("_Insert", bound=Insert)

_MAX_JSON = 1024 * 1024
"""Bytes of binary values that one JSON text contains at most."""


class ForEach:
    """A statement that is run for many rows at once, written once for both databases.

    `build` makes it of the values of a row, by name: SQLite runs it once for each row, PostgreSQL once for all of them,
    which it gets as JSON. The drivers get the values as they are, so that no column may be of a type that SQLAlchemy
    converts. In PostgreSQL no two rows may update the same row of the table.
    """

    def __init__(self, columns: Mapping[str, TypeEngine[Any]], build: Callable[[Values], Insert | Update]) -> None:
        self._columns, self._build = columns, build
        self.binary = [name for name, type in columns.items() if isinstance(type, LargeBinary)]

    @cached_property
    def for_sqlite(self) -> str:
        """With a named parameter for each value."""
        values = {name: bindparam(name, type_=type) for name, type in self._columns.items()}
        return str(self._build(values).compile(dialect=sqlite.dialect(paramstyle="named")))

    @cached_property
    def for_postgresql(self) -> str:
        """With one parameter, `rows`."""
        columns = [column(name, Text if name in self.binary else type) for name, type in self._columns.items()]
        rows = func.json_to_recordset(bindparam("rows", type_=JSON)).table_valued(*columns, name="new")
        new = rows.render_derived(with_types=True)
        values = {
            name: func.decode(new.c[name], literal_column("'hex'")) if name in self.binary else new.c[name]
            for name in self._columns
        }
        psycopg = URL.create("postgresql+psycopg").get_dialect()
        return str(self._build(values).compile(dialect=psycopg()))


def execute_each(tx: Connection, statement: ForEach, rows: Sequence[dict[str, Any]]) -> int:
    """Runs a statement for each of the rows. Returns how many rows of the table it inserted or updated."""
    if not rows:
        return 0
    if tx.dialect.name == "sqlite":
        return tx.exec_driver_sql(statement.for_sqlite, rows).rowcount
    if len(rows) > 1 and sum(len(row[name]) for row in rows for name in statement.binary) > _MAX_JSON:
        half = len(rows) // 2
        return execute_each(tx, statement, rows[:half]) + execute_each(tx, statement, rows[half:])
    return tx.exec_driver_sql(statement.for_postgresql, {"rows": json.dumps(rows, default=bytes.hex)}).rowcount


def insert_each_new(tx: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> int:
    """As `dialect.insert_new`, for many rows that have all columns of the table. Returns how many were inserted."""
    return execute_each(tx, _insert_each_new(tx.dialect.name, table), rows)


def insert_values(insert: _Insert, values: Values) -> _Insert:
    """The insertion of a row with these values, for `ForEach`."""
    return insert.from_select(list(values), select(*values.values()))


@cache
def _insert_each_new(database: str, table: Table) -> ForEach:
    columns = {column.name: column.type for column in table.columns}
    return ForEach(columns, lambda values: insert_values(dialect.insert_new_statement(database, table), values))


class _JsonTexts(FunctionElement[Any]):
    """The texts of a JSON array, as rows with one column, `value`."""

    inherit_cache = True


@compiles(_JsonTexts, "sqlite")
def _json_texts_sqlite(element: _JsonTexts, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_each{compiler.process(element.clause_expr, **options)}"


@compiles(_JsonTexts, "postgresql")
def _json_texts_postgresql(element: _JsonTexts, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_array_elements_text{compiler.process(element.clause_expr, **options)}"


def is_among(column: ColumnElement[Any], parameter: str) -> ColumnElement[bool]:
    """The condition that the column is one of the texts in this parameter.

    However many there are, the statement is the same: neither SQLAlchemy nor the database compiles it again.
    """
    texts = _JsonTexts(bindparam(parameter, type_=JSON))
    return column.in_(select(literal_column("value")).select_from(texts))

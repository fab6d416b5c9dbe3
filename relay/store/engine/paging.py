"""Pages of a list, newest first by (instant, key), so that a page stays correct while rows are added and removed."""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, Row, Select, literal, tuple_

from relay.errors import ValidationFailed
from relay.model import Instant
from relay.store.engine.database import Tx

MAX_PAGE_SIZE = 200
"""Maximum number of rows in a page."""

MAX_SCANNED = 5_000
"""Rows that one page reads at most, if no index answers a condition."""

_CURSOR = re.compile(r"(\d{1,16}):([A-Za-z0-9_-]{1,160}(?::[A-Za-z0-9_-]{1,160})?)")

CursorKey = tuple[Instant, *tuple[str, ...]]
"""The position of a row in a list: its instant, then its key."""


WalkPosition = tuple[Instant, str]
"""The position of a walk through a table, oldest first: the instant that orders its rows, and the id."""


class Page(NamedTuple):
    """The requested page: at most `limit` rows older than `cursor`."""

    limit: int = 50
    cursor: str | None = None
    max_scanned: int = MAX_SCANNED
    """Rows that it reads at most, if no index answers a condition."""


def encode(at: Instant, *key: str) -> str:
    """An opaque cursor for the row at this position."""
    return base64.urlsafe_b64encode(":".join((str(at), *key)).encode()).rstrip(b"=").decode()


def decode(cursor: str) -> CursorKey:
    """The position that a cursor names. Raises ValidationFailed for a text that is no cursor."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):  # guard: declared-errors
        text = ""
    if (parts := _CURSOR.fullmatch(text)) is None:
        raise _invalid()
    return int(parts[1]), *parts[2].split(":")


def _invalid() -> ValidationFailed:
    text = "invalid cursor for this list; omit it to start from the first page"
    return ValidationFailed("invalid_cursor", text, "cursor")


def read_page(
    tx: Tx, query: Select[Any], order: Sequence[Column[Any]], page: Page, unindexed: Sequence[ColumnElement[bool]] = ()
) -> tuple[Sequence[Row[Any]], str | None]:
    """The rows of one page, newest first, and the cursor of the next page; None if there is none.

    An index answers the conditions of `query`. Those in `unindexed` are tested on the next `page.max_scanned` rows
    only, so that no page costs more: then a page may have fewer rows than `limit`, or none, and still a cursor.
    """
    end = _position_after(tx, query, order, page) if unindexed else None
    query = query.where(*unindexed)
    if end is not None:
        # The instant by itself is for SQLite, which takes only that for the end of the walk through the index.
        query = query.where(order[0] >= end[0], tuple_(*order) >= tuple_(*map(literal, end)))
    rows = tx.execute(apply_page(query, order, page)).all()
    page_rows, cursor = split_page(rows, page, order)
    return page_rows, cursor if cursor is not None or end is None else encode(*end)


def _position_after(tx: Tx, query: Select[Any], order: Sequence[Column[Any]], page: Page) -> CursorKey | None:
    """The position of the last row that a page may read; None if there are fewer rows."""
    positions = apply_page(query.with_only_columns(*order), order, page._replace(limit=0))
    row = tx.execute(positions.offset(page.max_scanned - 1).limit(1)).one_or_none()
    return None if row is None else (row[0], *row[1:])


def walk_end(
    tx: Tx,
    query: Select[Any],
    order: Sequence[Column[Any]],
    after: WalkPosition | None,
    max_scanned: int = MAX_SCANNED,
) -> WalkPosition | None:
    """Where a step of a walk over the rows of `query` ends, oldest first: `max_scanned` rows after `after`.

    None if the step comes to the end.
    """
    rows = walk(query.with_only_columns(*order), order, after, None)
    row = tx.execute(rows.offset(max_scanned - 1).limit(1)).one_or_none()
    return None if row is None else (row[0], row[1])


def walk(
    query: Select[Any], order: Sequence[Column[Any]], after: WalkPosition | None, end: WalkPosition | None
) -> Select[Any]:
    """The rows of the query after the position `after`, up to and including `end`, oldest first."""
    if after is not None:
        query = query.where(order[0] >= after[0], tuple_(*order) > tuple_(*map(literal, after)))
    if end is not None:
        query = query.where(order[0] <= end[0], tuple_(*order) <= tuple_(*map(literal, end)))
    return query.order_by(*order)


def apply_page(query: Select[Any], order: Sequence[Column[Any]], page: Page) -> Select[Any]:
    """The query, ordered and limited to the page and one more row, which shows whether another page follows.

    `order` is the instant, then the columns that make it unique. Raises ValidationFailed for another list's cursor.
    """
    if page.cursor is not None:
        position = decode(page.cursor)
        if len(position) != len(order):
            raise _invalid()
        # As one comparison of rows, so that the index is entered at the cursor and not walked down to it.
        query = query.where(tuple_(*order) < tuple_(*map(literal, position)))
    return query.order_by(*(column.desc() for column in order)).limit(page.limit + 1)


def split_page(
    rows: Sequence[Row[Any]], page: Page, order: Sequence[Column[Any]]
) -> tuple[Sequence[Row[Any]], str | None]:
    """The rows of the page, and the cursor of the next one or None."""
    if len(rows) <= page.limit:
        return rows, None
    last = rows[page.limit - 1]._mapping
    return rows[: page.limit], encode(*(last[column.name] for column in order))

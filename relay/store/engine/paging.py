"""Pages of a list, newest first by (instant, key), so that a page stays correct while rows are added and removed."""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Column, Row, Select, literal, tuple_

from relay.errors import ValidationFailed
from relay.model import Instant

MAX_PAGE_SIZE = 200
"""Maximum number of rows in a page."""

_CURSOR = re.compile(r"(\d{1,16}):([A-Za-z0-9_-]{1,160}(?::[A-Za-z0-9_-]{1,160})?)")

CursorKey = tuple[Instant, *tuple[str, ...]]
"""The position of a row in a list: its instant, then its key."""


WalkPosition = tuple[Instant, str]
"""The position of a walk through a table, oldest first: the instant that orders its rows, and the id."""


class Page(NamedTuple):
    """The requested page: at most `limit` rows older than `cursor`."""

    limit: int = 50
    cursor: str | None = None


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

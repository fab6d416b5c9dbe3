"""Cursors: newest first by (instant, key), so that a page stays right while rows come and go."""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Column, Row, Select, literal, tuple_

from relay.errors import ValidationFailed
from relay.model import Instant

MAX_PAGE_SIZE = 200
"""Rows of one page at the most."""

_CURSOR = re.compile(r"(\d{1,16}):([A-Za-z0-9_-]{1,160}(?::[A-Za-z0-9_-]{1,160})?)")

CursorKey = tuple[Instant, *tuple[str, ...]]
"""Where a row stands in a list: its instant, and its key."""


class Page(NamedTuple):
    """What a caller asked for: at most `limit` rows older than `cursor`."""

    limit: int = 50
    cursor: str | None = None


def encode(at: Instant, *key: str) -> str:
    """An opaque cursor for the row at this place."""
    return base64.urlsafe_b64encode(":".join((str(at), *key)).encode()).rstrip(b"=").decode()


def decode(cursor: str) -> CursorKey:
    """The place that a cursor names. Raises Invalid for a text that no list gave out."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):  # guard: declared-errors
        text = ""
    if (found := _CURSOR.fullmatch(text)) is None:
        raise _invalid()
    return int(found[1]), *found[2].split(":")


def _invalid() -> ValidationFailed:
    text = "cursor is not one that this list gave out; leave it away to start anew"
    return ValidationFailed("invalid_cursor", text, "cursor")


def apply_page(query: Select[Any], order: Sequence[Column[Any]], page: Page) -> Select[Any]:
    """The query, ordered and cut for the page, with one row more to know whether another follows.

    `order` is the instant, and then what tells rows apart. Raises Invalid for another list's cursor.
    """
    if page.cursor is not None:
        place = decode(page.cursor)
        if len(place) != len(order):
            raise _invalid()
        # As one comparison of rows, so that the index is entered at the cursor and not walked down to it.
        query = query.where(tuple_(*order) < tuple_(*map(literal, place)))
    return query.order_by(*(column.desc() for column in order)).limit(page.limit + 1)


def split_page(
    rows: Sequence[Row[Any]], page: Page, order: Sequence[Column[Any]]
) -> tuple[Sequence[Row[Any]], str | None]:
    """The rows of the page, and the cursor of the next one or None."""
    if len(rows) <= page.limit:
        return rows, None
    last = rows[page.limit - 1]._mapping
    return rows[: page.limit], encode(*(last[column.name] for column in order))

"""The report about a store for `relay doctor`: sizes and states, without names, addresses or contents."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Table, func, literal, select

from relay.model import SECOND, Instant
from relay.store.engine import migrate
from relay.store.engine.database import Tx
from relay.store.engine.schema import attempts, deliveries, endpoints, metadata, watches, workspaces

_COUNTED = 100_000
"""How many rows of a table are counted; counting more would delay a relay that uses the store."""
_RECENT = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreReport:
    """The report about a store."""

    database: str
    version: str | None
    """The version of the tables."""
    rows: dict[str, str]
    """Rows by table; `more than 100,000` for large ones."""
    watches: dict[str, int]
    """By state, among the newest."""
    deliveries: dict[str, int]
    """By status, among the newest."""
    attempts: dict[str, int]
    """By format, outcome and status code, among the newest."""
    disabled: int
    pauses: dict[str, str]
    """Paused workspaces by number: the kind of pause and its rest."""


def store_report(tx: Tx, now: Instant) -> StoreReport:
    """The report as of `now`."""
    return StoreReport(
        database=f"{tx.dialect.name} {'.'.join(map(str, tx.dialect.server_version_info or ()))}",
        version=migrate.version_of(tx),
        rows={table.name: _rows(tx, table) for table in metadata.sorted_tables},
        watches=_newest(tx, watches.c.state, watches.c.created_at),
        deliveries=_newest(tx, deliveries.c.status, deliveries.c.created_at),
        attempts=_attempts(tx),
        disabled=tx.execute(select(func.count()).where(endpoints.c.disabled_at.is_not(None))).scalar_one(),
        pauses=_pauses(tx, now),
    )


def _rows(tx: Tx, table: Table) -> str:
    sample = select(literal(1)).select_from(table).limit(_COUNTED + 1).subquery()
    count = tx.execute(select(func.count()).select_from(sample)).scalar_one()
    return f"more than {_COUNTED:,}" if count > _COUNTED else f"{count:,}"


def _newest(tx: Tx, group: Column[Any], at: Column[Any]) -> dict[str, int]:
    newest = select(group.label("what")).order_by(at.desc()).limit(_RECENT).subquery()
    query = select(newest.c.what, func.count()).group_by(newest.c.what)
    return {str(row.what): row[1] for row in tx.execute(query)}


def _attempts(tx: Tx) -> dict[str, int]:
    newest = select(attempts).order_by(attempts.c.id.desc()).limit(_RECENT).subquery()
    query = (
        select(endpoints.c.format, newest.c.outcome, newest.c.status_code, func.count())
        .join(deliveries, deliveries.c.id == newest.c.delivery_id)
        .join(endpoints, endpoints.c.id == deliveries.c.endpoint_id)
        .group_by(endpoints.c.format, newest.c.outcome, newest.c.status_code)
    )
    return {f"{format} {outcome} {code or ''}".strip(): count for format, outcome, code, count in tx.execute(query)}


def _pauses(tx: Tx, now: Instant) -> dict[str, str]:
    waits = (workspaces.c.paused_until.is_not(None), workspaces.c.paused_until > now)
    query = select(workspaces.c.pause_kind, workspaces.c.paused_until).where(*waits).order_by(workspaces.c.name)
    return {
        f"workspace {number}": f"{kind}, for {(until - now) // SECOND} s more"
        for number, (kind, until) in enumerate(tx.execute(query), 1)
    }

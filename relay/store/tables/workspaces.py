"""Workspaces: what the relays on a store share of each: spent requests, learned durations and arrivals, pauses."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Row, bindparam, select, update

from relay.model import Instant
from relay.model.arrival_history import ArrivalHistory
from relay.model.duration_history import DurationHistory
from relay.model.usage_ledger import UsageLedger
from relay.store.engine import dialect
from relay.store.engine.database import Tx
from relay.store.engine.schema import workspaces

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceState:
    """One workspace as stored."""

    name: str
    ledger: UsageLedger = field(default_factory=UsageLedger)
    durations: DurationHistory = field(default_factory=DurationHistory)
    arrivals: ArrivalHistory = field(default_factory=ArrivalHistory)
    paused_until: Instant | None = None
    pause_kind: str | None = None
    """`unauthorized`, `rate_limited` or `failing`: why the workspace is not polled before `paused_until`."""
    pause_reason: str | None = None
    """The same, as a sentence for people."""
    consecutive_failures: int = 0
    """Failed polls in a row, over all jobs. The circuit breaker counts them."""


_NAME_IS = workspaces.c.name == bindparam("of")
_BY_NAME = select(workspaces).where(_NAME_IS)
_LOCKED = _BY_NAME.with_for_update()
_SAVE = update(workspaces).where(_NAME_IS)


def lock(tx: Tx, name: str) -> WorkspaceState:
    """The workspace, locked until the transaction ends. Adds its row if there is none."""
    while (row := tx.execute(_LOCKED, {"of": name}).one_or_none()) is None:
        dialect.insert_new(tx, workspaces, [{"name": name}])
    return _state(row)


def get(tx: Tx, name: str) -> WorkspaceState:
    """The workspace, not locked. A workspace without a row has the default state."""
    row = tx.execute(_BY_NAME, {"of": name}).one_or_none()
    return _state(row) if row else WorkspaceState(name=name)


def save(tx: Tx, state: WorkspaceState) -> None:
    """Writes the state; the caller holds the workspace (`lock`)."""
    values = {name: getattr(state, name) for name in WorkspaceState.__slots__}
    encoded = {name: _encode(values[name]) for name in _DECODE}
    tx.execute(_SAVE, values | encoded | {"of": state.name})


@lru_cache(32)
def _encode(value: UsageLedger | DurationHistory | ArrivalHistory) -> str:
    # Each poll saves its workspace, and most change neither durations nor arrivals: to hash these costs far less.
    return value.to_json()


@lru_cache(32)
def decode_ledger(text: str | None) -> UsageLedger:
    """The stored ledger. An unreadable one counts as nothing spent: the budget learns from the next 429."""
    return _decode(UsageLedger.from_json, text) or UsageLedger()


@lru_cache(32)
def decode_durations(text: str | None) -> DurationHistory:
    """The stored durations. An unreadable text counts as nothing learned: they are learned again."""
    return _decode(DurationHistory.from_json, text) or DurationHistory()


@lru_cache(32)
def decode_arrivals(text: str | None) -> ArrivalHistory:
    """The stored arrivals. An unreadable text counts as no arrivals."""
    return _decode(ArrivalHistory.from_json, text) or ArrivalHistory()


_DECODE: dict[str, Callable[[str | None], Any]] = {
    "ledger": decode_ledger,
    "durations": decode_durations,
    "arrivals": decode_arrivals,
}


def _state(row: Row[Any]) -> WorkspaceState:
    values = dict(row._mapping)
    return WorkspaceState(**values | {name: decode(values[name]) for name, decode in _DECODE.items()})


def _decode(from_json: Callable[[str], T], text: str | None) -> T | None:
    try:
        return from_json(text) if text else None
    except ValueError:
        return None

"""What the relay knows of each workspace: spent budget, learned durations, and why it waits. Shared by replicas."""

from dataclasses import dataclass

from sqlalchemy import bindparam, select, update

from relay.model import Instant
from relay.store.engine import dialect
from relay.store.engine.database import Tx
from relay.store.engine.schema import workspaces


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceState:
    """One workspace as stored."""

    name: str
    ledger: str | None = None
    """`budget.Ledger` as JSON."""
    durations: str | None = None
    """`durations.Durations` as JSON."""
    arrivals: str | None = None
    """`arrivals.Arrivals` as JSON."""
    paused_until: Instant | None = None
    pause_kind: str | None = None
    """`unauthorized`, `rate_limited` or `failing`: why no poll is made before `paused_until`."""
    pause_reason: str | None = None
    """The same in words."""
    consecutive_failures: int = 0
    """Failed polls in a row, over all jobs: what the breaker counts."""


_OF = workspaces.c.name == bindparam("of")
_ONE = select(workspaces).where(_OF)
_LOCKED = _ONE.with_for_update()
_SAVE = update(workspaces).where(_OF)


def lock(tx: Tx, name: str) -> WorkspaceState:
    """The workspace's row, held against other replicas until the transaction ends; made where there is none."""
    while (row := tx.execute(_LOCKED, {"of": name}).one_or_none()) is None:
        dialect.insert_new(tx, workspaces, [{"name": name}])
    return WorkspaceState(**row._mapping)


def get(tx: Tx, name: str) -> WorkspaceState:
    """The workspace's row as it is, without holding it."""
    row = tx.execute(_ONE, {"of": name}).one_or_none()
    return WorkspaceState(**row._mapping) if row else WorkspaceState(name=name)


def save(tx: Tx, state: WorkspaceState) -> None:
    values = {name: getattr(state, name) for name in WorkspaceState.__slots__}
    tx.execute(_SAVE, values | {"of": state.name})

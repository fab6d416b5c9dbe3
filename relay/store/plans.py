"""Plans: what is to be done when. Where the clock that they were made by is set, they are moved with it.

A wait is then as long as it was to be: nothing stands still for an hour because the clock was set back by one, and no
lease is taken for run out because it was set on.
"""

from sqlalchemy import BigInteger, BindParameter, Column, bindparam, select, update

from relay import budget
from relay.pace import read_ledger
from relay.store.database import Tx
from relay.store.schema import deliveries, duties, endpoints, watches, workspaces

_OF_A_WATCH = ("next_look_at", "created_at", "last_look_at", "missing_since", "hinted_at", "unconfirmed_since")
"""With what it is judged by: who looks for a day is not to have looked for one because the clock was set on."""
_OF_AN_ENDPOINT = (endpoints.c.paused_until, endpoints.c.next_turn_at, endpoints.c.failing_since)
_BY: BindParameter[int] = bindparam("by", type_=BigInteger)


def _moved(column: Column[int]) -> dict[str, object]:
    return {column.name: column + _BY}


_MOVES = (
    update(watches)
    .where(watches.c.next_look_at.is_not(None))
    .values({name: watches.c[name] + _BY for name in _OF_A_WATCH}),
    update(deliveries).where(deliveries.c.next_attempt_at.is_not(None)).values(_moved(deliveries.c.next_attempt_at)),
    *(update(endpoints).where(column.is_not(None)).values(_moved(column)) for column in _OF_AN_ENDPOINT),
    update(workspaces).where(workspaces.c.paused_until.is_not(None)).values(_moved(workspaces.c.paused_until)),
    update(duties).values(_moved(duties.c.until)),
)
_LEDGERS = select(workspaces.c.name, workspaces.c.ledger).where(workspaces.c.ledger.is_not(None))
_KEEP_LEDGER = update(workspaces).where(workspaces.c.name == bindparam("of"))


def move(tx: Tx, by: int) -> None:
    """Everything that waits, waits until so many milliseconds later by the clock; a negative number: earlier."""
    for statement in _MOVES:
        tx.execute(statement, {"by": by})
    for row in tx.execute(_LEDGERS).all():
        moved = budget.moved(read_ledger(row.ledger), by)
        tx.execute(_KEEP_LEDGER, {"of": row.name, "ledger": moved.to_json()})

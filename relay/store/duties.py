"""Duties: what one relay does for all on its store."""

from sqlalchemy import or_, update

from relay.model import Instant
from relay.store import dialect
from relay.store.database import Tx
from relay.store.schema import duties


def take(tx: Tx, name: str, owner: str, now: Instant, until: Instant) -> bool:
    """Whether `owner` has the duty, from now on until `until`: nobody else has it, or whoever had it let it run out."""
    if dialect.insert_new(tx, duties, [{"name": name, "owner": owner, "until": until}]):
        return True
    free = or_(duties.c.owner == owner, duties.c.until <= now)
    return tx.execute(update(duties).where(duties.c.name == name, free), {"owner": owner, "until": until}).rowcount == 1

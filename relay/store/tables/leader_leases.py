"""Leader leases: work that one relay does for all relays on its store."""

from sqlalchemy import or_, update

from relay.model import Instant
from relay.store.engine import dialect
from relay.store.engine.database import Tx
from relay.store.engine.schema import leader_leases


def acquire_lease(tx: Tx, name: str, owner: str, now: Instant, until: Instant) -> bool:
    """Acquires or renews the lease for `owner` until `until`. False while another owner's lease has not expired."""
    if dialect.insert_new(tx, leader_leases, [{"name": name, "owner": owner, "until": until}]):
        return True
    is_free = or_(leader_leases.c.owner == owner, leader_leases.c.until <= now)
    return (
        tx.execute(
            update(leader_leases).where(leader_leases.c.name == name, is_free), {"owner": owner, "until": until}
        ).rowcount
        == 1
    )

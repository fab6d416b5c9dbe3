"""Sessions of the dashboard, identified by the hash of the browser's cookie."""

from dataclasses import dataclass, field

from sqlalchemy import delete, insert, select

from relay.model import Instant
from relay.store.engine.database import Tx
from relay.store.engine.schema import sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One browser, logged in with one API key."""

    id: str = field(repr=False)
    key_hash: str = field(repr=False)
    """The hash of the API key that opened it."""
    csrf: str = field(repr=False)
    expires_at: Instant


def add(tx: Tx, session: Session, now: Instant) -> None:
    """Adds a session and deletes the expired ones."""
    prune(tx, now)
    tx.execute(insert(sessions), {name: getattr(session, name) for name in Session.__slots__})


def get(tx: Tx, id: str, now: Instant) -> Session | None:
    """The session, unless it has expired."""
    row = tx.execute(select(sessions).where(sessions.c.id == id, sessions.c.expires_at > now)).one_or_none()
    return Session(**row._mapping) if row else None


def prune(tx: Tx, now: Instant) -> None:
    """Deletes the expired sessions."""
    tx.execute(delete(sessions).where(sessions.c.expires_at <= now))


def remove(tx: Tx, id: str) -> None:
    """Deletes a session."""
    tx.execute(delete(sessions).where(sessions.c.id == id))

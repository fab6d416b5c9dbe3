"""Suspending, resuming and discarding: what a person decides about a store that was restored or cloned.

The functions work inside the caller's transaction, and write to the audit log in it.
"""

from collections.abc import Callable
from functools import partial

from relay.errors import Conflict
from relay.model import THE_RELAY, Actor, AuditAction, Instant
from relay.store import Store, Tx
from relay.store.tables import audit, replays, sending
from relay.store.tables.sending import Suspension

BY_HAND = "it was suspended by hand"
"""The reason of a suspension that a person asked for."""

BATCH = 500
"""Deliveries that one transaction discards."""

COUNTED = 100_000
"""Up to how many waiting deliveries are counted."""


class SendingControl:
    """Whether this relay sends. Another relay on the store may change it: every tick tells what it has `found`."""

    def __init__(self, store: Store, suspend: Callable[[bool], None], wake: Callable[[], None]) -> None:
        """`suspend` suspends and resumes this relay's dispatcher, `wake` wakes all relays on the store."""
        self._store, self._suspend, self._wake = store, suspend, wake
        self.suspension: Suspension | None = None
        """Since when and why nothing is sent; None if deliveries are sent. As of the last `read`."""
        self.waiting = 0
        """Deliveries that wait for the end of the suspension, counted up to `COUNTED`. As of the last `read`."""

    async def begin(self, public_url: str | None, instance: str | None, now: Instant) -> None:
        """To be called before anything is sent: suspends sending if another relay used the store last. Raises
        StoreError."""
        self.found(*await self._store.write(lambda tx: adopt(tx, THE_RELAY, public_url, instance, now), at_end=True))

    async def read(self) -> None:
        """Reads it from the store, and suspends or resumes the dispatcher. Raises StoreError."""
        self.found(*await self._store.read(status))

    def found(self, suspension: Suspension | None, waiting: int) -> None:
        """Suspends or resumes the dispatcher, as somebody has read in the store."""
        self.suspension, self.waiting = suspension, waiting
        self._suspend(suspension is not None)

    async def suspend(self, actor: Actor, now: Instant) -> None:
        """Sends nothing from now on, until a person resumes or discards. Raises StoreError."""
        await self._store.write(lambda tx: suspend(tx, actor, now, BY_HAND), at_end=True)
        await self.read()

    async def resume(self, actor: Actor, now: Instant) -> None:
        """Sends what waits, with the ids that it has. Raises StoreError."""
        await self._store.write(lambda tx: resume(tx, actor, now), at_end=True)
        await self.read()
        self._wake()

    async def discard(self, actor: Actor, now: Instant) -> int:
        """Cancels what waits since before the suspension, and sends again. Returns how many deliveries are cancelled.

        Raises Conflict if sending is not suspended, StoreError; the same call then continues.
        """
        discarded, more = 0, True
        while more:
            batch = partial(discard_batch, actor=actor, now=now, discarded=discarded)
            discarded, more = await self._store.write(batch, at_end=True)
        await self.read()
        self._wake()
        return discarded


def status(tx: Tx) -> tuple[Suspension | None, int]:
    """The suspension, and how many deliveries wait for its end, counted up to `COUNTED`."""
    found = sending.suspension(tx)
    return found, count_waiting(tx, found)


def count_waiting(tx: Tx, suspension: Suspension | None) -> int:
    """How many deliveries wait for the end of a suspension, counted up to `COUNTED`."""
    return 0 if suspension is None else sending.waiting(tx, COUNTED)


def suspend(tx: Tx, actor: Actor, now: Instant, reason: str) -> bool:
    """Suspends sending for `reason`, a clause. False if it is suspended already."""
    if suspended := sending.suspend(tx, reason, now):
        audit.add(tx, actor, AuditAction.SENDING_SUSPENDED, now, reason=reason)
    return suspended


def adopt(
    tx: Tx, actor: Actor, public_url: str | None, instance: str | None, now: Instant
) -> tuple[Suspension | None, int]:
    """As a relay starts: suspends sending if the store was last used under another public URL or instance. Returns what
    `status` does."""
    if (reason := sending.adopt(tx, public_url, instance, now)) is not None:
        audit.add(tx, actor, AuditAction.SENDING_SUSPENDED, now, reason=reason)
    return status(tx)


def resume(tx: Tx, actor: Actor, now: Instant) -> bool:
    """Lets the relay send what waits. False if sending is not suspended."""
    waiting = sending.waiting(tx, COUNTED)
    if resumed := sending.resume(tx):
        audit.add(tx, actor, AuditAction.SENDING_RESUMED, now, waiting=waiting)
    return resumed


def discard_batch(tx: Tx, actor: Actor, now: Instant, discarded: int) -> tuple[int, bool]:
    """Cancels some of the deliveries that wait since before the suspension; `discarded` are cancelled already.

    Returns how many are cancelled now in all, and whether more are left. With the last batch the relay sends again.
    Replays end.
    Raises Conflict if sending is not suspended.
    """
    suspension = sending.suspension(tx)
    if suspension is None:
        text = "sending is not suspended, so nothing is discarded; cancel single registrations instead"
        raise Conflict("sending_not_suspended", text)
    replays.stop_all(tx, now, sending.DISCARD_REASON)
    number = sending.discard_batch(tx, suspension.since, now, BATCH)
    if number < BATCH:
        sending.resume(tx)
        audit.add(tx, actor, AuditAction.SENDING_DISCARDED, now, discarded=discarded + number)
    return discarded + number, number == BATCH

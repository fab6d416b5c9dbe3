"""Hints: Exec's callback says that a job ended. A hint brings a look forward, and decides nothing."""

from enum import StrEnum

from relay import looking
from relay.model import DAY, Instant, Watch, WatchState
from relay.register.registering import register
from relay.register.requests import Checked
from relay.store import watches, workspaces
from relay.store.database import Tx


class Hint(StrEnum):
    """What becomes of a hint. The names are those of a metric's label."""

    HEEDED = "heeded"  # a look will be made
    KNOWN = "known"  # nothing is left to learn, or a look is on its way already
    TOO_MANY = "too_many"  # too many hints named jobs that Exec does not know


HINTS_UNCONFIRMED = 50
"""Jobs of a workspace that hints may name in a day without that Exec knows them: each costs one look."""


def hint(tx: Tx, workspace: str, job_id: str, now: Instant) -> Hint:
    """Exec's callback says that a job ended, which only a look can tell.

    A job that nobody registered, or that was given up, is registered for the standing endpoints; while Exec has not
    confirmed more than 50 such in a day, no further ones are taken, so that whoever has the token can fill neither the
    store nor the day. The workspace is locked, so that they are counted one after the other.
    """
    workspaces.lock(tx, workspace)
    watch = watches.get(tx, workspace, job_id)
    if watch is None or watch.state in (WatchState.EXPIRED, WatchState.NOT_FOUND):
        return _hint_of_unknown(tx, workspace, job_id, watch, now)
    if watch.state is not WatchState.ACTIVE or watch.is_hinted:
        return Hint.KNOWN
    watches.hint(tx, watch, looking.heeded_at(watch, now), looking.HINTED)
    return Hint.HEEDED


def _hint_of_unknown(tx: Tx, workspace: str, job_id: str, given_up: Watch | None, now: Instant) -> Hint:
    since = now - DAY
    if given_up is not None and (given_up.unconfirmed_since or 0) > since:
        return Hint.KNOWN
    if watches.unconfirmed(tx, workspace, since, HINTS_UNCONFIRMED) >= HINTS_UNCONFIRMED:
        return Hint.TOO_MANY
    register(tx, Checked(job_id=job_id, workspace=workspace), now)
    watch = watches.get(tx, workspace, job_id)
    if watch is not None:
        watches.mark(tx, watch, hinted_at=now, unconfirmed_since=now, next_look_why=looking.HINTED)
    return Hint.HEEDED

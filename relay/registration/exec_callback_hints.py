"""Hints: Exec's callback says that a job ended. A hint brings a poll forward, and decides nothing."""

from enum import StrEnum

from relay.model import DAY, Instant, Watch, WatchState
from relay.polling import transitions
from relay.registration.register import register
from relay.registration.request import ValidatedRegistration
from relay.store.engine.database import Tx
from relay.store.tables import watches, workspaces


class Hint(StrEnum):
    """What becomes of a hint. The names are those of a metric's label."""

    ACCEPTED = "accepted"  # a poll will be made
    IGNORED = "ignored"  # nothing is left to learn, or a poll is on its way already
    THROTTLED = "throttled"  # too many hints named jobs that Exec does not know


MAX_UNCONFIRMED_JOBS_PER_DAY = 50
"""Jobs of a workspace that hints may name in a day without that Exec knows them: each costs one poll."""


def handle_callback_hint(tx: Tx, workspace: str, job_id: str, now: Instant) -> Hint:
    """Exec's callback says that a job ended, which only a poll can tell.

    A job that nobody registered, or that was given up, is registered for the standing endpoints; while Exec has not
    confirmed more than 50 such in a day, no further ones are taken, so that whoever has the token can fill neither the
    store nor the day. The workspace is locked, so that they are counted one after the other.
    """
    workspaces.lock(tx, workspace)
    watch = watches.get_for_update(tx, workspace, job_id)
    if watch is None or watch.state in (WatchState.EXPIRED, WatchState.NOT_FOUND):
        return _hint_of_unknown(tx, workspace, job_id, watch, now)
    if watch.state is not WatchState.ACTIVE or watch.has_pending_hint:
        return Hint.IGNORED
    watches.set_hint(tx, watch, transitions.poll_at_for_hint(watch, now), transitions.HINT_REASON)
    return Hint.ACCEPTED


def _hint_of_unknown(tx: Tx, workspace: str, job_id: str, given_up: Watch | None, now: Instant) -> Hint:
    since = now - DAY
    if given_up is not None and (given_up.unconfirmed_since or 0) > since:
        return Hint.IGNORED
    if watches.unconfirmed(tx, workspace, since, MAX_UNCONFIRMED_JOBS_PER_DAY) >= MAX_UNCONFIRMED_JOBS_PER_DAY:
        return Hint.THROTTLED
    register(tx, ValidatedRegistration(job_id=job_id, workspace=workspace), now)
    watch = watches.get_for_update(tx, workspace, job_id)
    if watch is not None:
        watches.update_fields(
            tx, watch, callback_received_at=now, unconfirmed_since=now, next_poll_reason=transitions.HINT_REASON
        )
    return Hint.ACCEPTED

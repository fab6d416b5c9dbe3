"""Hints: Exec's callback says that a job ended. A hint makes the relay poll sooner; only a poll ends a watch."""

from enum import StrEnum

from relay.model import DAY, Instant, Watch, WatchState
from relay.polling import transitions
from relay.registration.register import register
from relay.registration.request import ValidatedRegistration
from relay.store import Tx
from relay.store.tables import watches, workspaces


class Hint(StrEnum):
    """The result of a hint. The values are those of a metric's label."""

    ACCEPTED = "accepted"  # a poll is scheduled
    IGNORED = "ignored"  # the job has ended, or a poll is scheduled already
    THROTTLED = "throttled"  # too many hints named jobs that Exec does not know


MAX_UNCONFIRMED_JOBS_PER_DAY = 50
"""Jobs of a workspace that hints may name in a day although Exec does not know them: each costs one poll."""


def handle_callback_hint(tx: Tx, workspace: str, job_id: str, now: Instant) -> Hint:
    """Handles Exec's callback for a job: schedules a poll, because only a poll shows whether the job ended.

    A job that nobody registered, or whose watch was given up, is registered for the standing endpoints. If 50 such jobs
    of a day are not confirmed by Exec, further ones are throttled, so that the token's holder can fill neither the
    store nor the day's budget. Locks the workspace, so that concurrent hints are counted one after the other.
    """
    workspaces.lock(tx, workspace)
    watch = watches.get_for_update(tx, workspace, job_id)
    if watch is None or watch.state in (WatchState.EXPIRED, WatchState.NOT_FOUND):
        return _register_hinted(tx, workspace, job_id, watch, now)
    if watch.state is not WatchState.ACTIVE or watch.has_pending_hint:
        return Hint.IGNORED
    watches.set_hint(tx, watch, transitions.poll_at_for_hint(watch, now), transitions.HINT_REASON)
    return Hint.ACCEPTED


def _register_hinted(tx: Tx, workspace: str, job_id: str, ended_watch: Watch | None, now: Instant) -> Hint:
    since = now - DAY
    if ended_watch is not None and (ended_watch.unconfirmed_since or 0) > since:
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

"""Limits the polls of jobs that Exec has not confirmed: their ids may be wrong, and each costs polls all the same.

A key may have a few such jobs polled at once. The first poll of a job takes one of the key's slots. An answer with the
job gives the slot back, so a key with right ids is hardly ever slowed; a wrong id costs it for the day.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from relay.model import DAY, MINUTE, SECOND, Instant, Watch
from relay.polling.request_budget import RateLimit
from relay.polling.schedule.poll_selection import TEST_POLLS
from relay.polling.transitions import NOT_FOUND_MIN_POLLS
from relay.security.rate_limiter import RateLimiter

_SHARE = 8
"""Wrong ids of one key cost one request in so many of the day: about three polls each."""
_MAX_KEYS = 10_000
_RETRY_DELAY = SECOND


@dataclass(frozen=True, slots=True)
class Held:
    """The unconfirmed jobs of one key that are due: `keep` of them stay due, the others wait until `until`."""

    owner: str
    keep: int
    until: Instant


class UnconfirmedJobs:
    """The slots of this relay process, by workspace and API key."""

    def __init__(self, rate_limits: Mapping[str, RateLimit]) -> None:
        self._limits = {workspace: _limiter(limit) for workspace, limit in rate_limits.items()}

    def excess(self, workspace: str, due: Mapping[str, int], in_flight: Iterable[Watch], now: Instant) -> list[Held]:
        """What has to wait of unconfirmed jobs that are due, whose number `due` gives by key."""
        limiter, excess = self._limits[workspace], []
        unanswered = Counter(watch.owner for watch in in_flight if watch.workspace == workspace)
        for owner, number in due.items():
            keep = limiter.available(owner, now)
            if number > keep:
                # An answer that is on its way may give slots back.
                wait = _RETRY_DELAY if keep or unanswered[owner] else round(limiter.retry_after(owner, now)) + 1
                excess.append(Held(owner, keep, now + wait))
        return excess

    def within_limits(self, workspace: str, due: Iterable[Watch], now: Instant) -> list[Watch]:
        """The due watches without those for which their key has no slot, such as jobs registered after `excess`."""
        limiter, taken, within = self._limits[workspace], Counter[str](), list[Watch]()
        for watch in due:
            if watch.owner is not None and watch.is_unconfirmed:
                if taken[watch.owner] >= limiter.available(watch.owner, now):  # guard: unconfirmed-jobs
                    continue
                taken[watch.owner] += 1
            within.append(watch)
        return within

    def poll_begins(self, watch: Watch, now: Instant) -> None:
        """Takes a slot for the first poll of a registration."""
        if watch.owner is not None and watch.is_unconfirmed:
            self._limits[watch.workspace].acquire(watch.owner, now)

    def job_found(self, before: Watch, now: Instant) -> bool:
        """Gives the slot back of a job that a poll has found, and whose earlier polls of any registration all failed.

        A job that is withdrawn and registered again costs a poll each time, so its slot stays taken. Returns whether
        the key had no slot left, so that its other jobs may wait for this one.
        """
        has_been_found = before.job is not None or before.polls > before.not_found_count + before.failures
        if before.owner is None or has_been_found:
            return False
        limiter = self._limits[before.workspace]
        had_no_slot = not limiter.available(before.owner, now)
        limiter.release(before.owner)
        return had_no_slot


def _limiter(limit: RateLimit) -> RateLimiter:
    """At once as many jobs as are polled to test those registered together, or an eighth of a minute's requests."""
    jobs_per_day = max(1, limit.day // _SHARE // NOT_FOUND_MIN_POLLS)
    burst = min(max(TEST_POLLS, limit.minute // _SHARE), jobs_per_day)
    return RateLimiter(burst, jobs_per_day * MINUTE / DAY, _MAX_KEYS)

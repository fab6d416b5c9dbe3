"""Limits the polls of jobs that Exec has not confirmed: their ids may be wrong, and each costs polls all the same.

A key may have a few such jobs polled at once. The first poll of a job takes one of the key's slots. An answer with the
job gives the slot back, so a key with right ids is hardly ever slowed; a wrong id costs it for the day. All keys
together get a share of each minute, so that wrong ids of many keys leave requests to the jobs that Exec knows. In that
share are also polls after a 404, and of jobs that only a callback names. A key without an open question is outside of
it: its next job is polled at once.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from relay.model import DAY, MINUTE, SECOND, Instant, Watch
from relay.polling.request_budget import RateLimit
from relay.polling.schedule.poll_selection import TEST_POLLS
from relay.polling.transitions import NOT_FOUND_MIN_POLLS
from relay.security import RateLimiter

_SHARE = 8
"""Wrong ids of one key cost one request in so many of the day: about three polls each."""
_SHARE_OF_MINUTE = 3
"""Polls for wrong ids of all keys take this part of a minute's requests, and one more for each key."""
_NO_KEY = ""
_MAX_KEYS = 10_000
_RETRY_DELAY = SECOND


@dataclass(frozen=True, slots=True)
class Held:
    """The unconfirmed jobs of one key that are due: `keep` of them stay due, the others wait until `until`."""

    owner: str
    keep: int
    until: Instant


class _Slots:
    """The slots of one workspace: of each key, and of all keys together."""

    def __init__(self, limit: RateLimit) -> None:
        jobs_per_day = max(1, limit.day // _SHARE // NOT_FOUND_MIN_POLLS)
        # As many jobs as are polled to test those registered together, or an eighth of a minute's requests.
        self._at_once = min(max(TEST_POLLS, limit.minute // _SHARE), jobs_per_day)
        self._of_key = RateLimiter(self._at_once, jobs_per_day * MINUTE / DAY, _MAX_KEYS)
        per_minute = max(1, limit.minute // _SHARE_OF_MINUTE)
        self._of_all = RateLimiter(per_minute, per_minute, 1)

    def available(self, owner: str, now: Instant, of_others: int = 0) -> int:
        """How many first polls of the key may begin, if `of_others` of other keys begin now too."""
        of_key, of_all = self._of_key.available(owner, now), self._of_all.available("", now) - of_others
        return min(of_key, max(of_all, int(of_key == self._at_once)))  # guard: unconfirmed-of-many-keys

    def available_to_all(self, now: Instant) -> int:
        """How many polls may begin that take no slot of a key."""
        return self._of_all.available("", now)

    def retry_after(self, owner: str, now: Instant) -> int:
        """Milliseconds until a slot is free for the key."""
        return round(max(self._of_key.retry_after(owner, now), self._of_all.retry_after("", now))) + 1

    def acquire(self, owner: str | None, now: Instant) -> None:
        """Takes a slot of all keys, and one of the key."""
        if owner is not None:
            self._of_key.acquire(owner, now)
        self._of_all.acquire("", now)

    def release(self, owner: str) -> None:
        """Gives a slot back."""
        self._of_key.release(owner)
        self._of_all.release("")


class UnconfirmedJobs:
    """The slots of this relay process, by workspace and API key."""

    def __init__(self, rate_limits: Mapping[str, RateLimit]) -> None:
        self._slots = {workspace: _Slots(limit) for workspace, limit in rate_limits.items()}

    def excess(self, workspace: str, due: Mapping[str, int], in_flight: Iterable[Watch], now: Instant) -> list[Held]:
        """What has to wait of unconfirmed jobs that are due, whose number `due` gives by key."""
        slots, excess = self._slots[workspace], []
        unanswered = Counter(watch.owner for watch in in_flight if watch.workspace == workspace)
        for owner, number in due.items():
            keep = slots.available(owner, now)
            if number > keep:
                # An answer that is on its way may give slots back.
                wait = _RETRY_DELAY if keep or unanswered[owner] else slots.retry_after(owner, now)
                excess.append(Held(owner, keep, now + wait))
        return excess

    def within_limits(self, workspace: str, due: Iterable[Watch], now: Instant) -> list[Watch]:
        """The due watches without those for which their key has no slot, such as jobs registered after `excess`."""
        slots, slots_taken, within = self._slots[workspace], Counter[str](), list[Watch]()
        for watch in due:
            if _is_doubtful(watch):
                if slots_taken.total() >= slots.available_to_all(now):  # guard: doubtful-jobs
                    continue
                slots_taken[_NO_KEY] += 1
            elif watch.owner is not None and watch.is_unconfirmed:
                of_others = slots_taken.total() - slots_taken[watch.owner]
                if slots_taken[watch.owner] >= slots.available(watch.owner, now, of_others):  # guard: unconfirmed-jobs
                    continue
                slots_taken[watch.owner] += 1
            within.append(watch)
        return within

    def poll_begins(self, watch: Watch, now: Instant) -> None:
        """Takes a slot for the first poll of a registration, and for one of a doubtful job."""
        if _is_doubtful(watch):
            self._slots[watch.workspace].acquire(None, now)
        elif watch.owner is not None and watch.is_unconfirmed:
            self._slots[watch.workspace].acquire(watch.owner, now)

    def job_found(self, before: Watch, now: Instant) -> bool:
        """Gives the slot back of a job that a poll has found, and whose earlier polls of any registration all failed.

        A job that is withdrawn and registered again costs a poll each time, so its slot stays taken. Returns whether
        the key had no slot left, so that its other jobs may wait for this one.
        """
        has_been_found = before.job is not None or before.polls > before.not_found_count + before.failures
        if before.owner is None or has_been_found:
            return False
        slots = self._slots[before.workspace]
        had_no_slot = not slots.available(before.owner, now)
        slots.release(before.owner)
        return had_no_slot


def _is_doubtful(watch: Watch) -> bool:
    """Whether Exec did not know the job that a key registered, or only a callback names it."""
    return watch.job is None and (
        watch.unconfirmed_since is not None or (watch.owner is not None and watch.not_found_count > 0)
    )

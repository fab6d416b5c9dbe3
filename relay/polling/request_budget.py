"""The request budget: keeps polls within Exec's requests per minute and per day, whichever way Exec counts them.

Exec says '60 requests a minute and 1,000 a day', but not whether its windows roll or start at the full minute and at
midnight. A rolling window covers every fixed window of the same length, so the ledger rolls, and it rounds so that a
spent request counts a little longer than necessary, never shorter. Other tools may use the same API key: a 429 that the
ledger did not predict is due to them, and reduces the relay's share for a while.
"""

import math
from dataclasses import dataclass, replace

from relay.model import DAY, HOUR, MINUTE, SECOND, Instant
from relay.model.usage_ledger import BIN, BUCKET, MAX_PAUSE, MAX_SPENT, MIN_SHARE, UsageLedger

HORIZONS = (*(10 * MINUTE << doubled for doubled in range(8)), DAY)
"""The horizons of `Remaining.within`, in milliseconds from now."""

MAY_REPEAT = "relay.may_repeat"
"""A request extension: an async function that spends one more request and returns whether the budget had one.
Without it the transport does not repeat the request."""

MARGIN = SECOND
"""A spent request counts this much longer, because it reaches Exec a varying time after it was spent. One that
leaves later than this has to be spent again."""
_MAX_AHEAD = MINUTE
"""A time further ahead than this comes from a wrong clock. Clocks of several relays may differ by this much."""

_PAUSE = MINUTE
_LONG = 5 * MINUTE
"""A 429 that asks for a longer pause than this is about the day's limit, otherwise about the minute's."""
_SHRINK = 0.7
_LIGHT_SHRINK = 0.95
_SURELY_THE_DAY = 3
"""So many 429s in a row, each after its pause, show that the day's limit is used up, whatever pause they ask for."""
_MINUTE_HALF_LIFE = 15 * MINUTE
_DAY_HALF_LIFE = 2 * DAY


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Exec's limits and the share of them that the relay may use (0 to 1): at least one request of each window."""

    per_minute: int
    per_day: int
    share: float

    @property
    def minute(self) -> int:
        return max(1, int(self.per_minute * self.share))

    @property
    def day(self) -> int:
        return max(1, int(self.per_day * self.share))


@dataclass(frozen=True, slots=True)
class Remaining:
    """Polls that may still be made."""

    minute: int
    """Now, as far as the minute's window goes."""
    day: int
    """Now, as far as the day's window goes."""
    within: tuple[tuple[int, int], ...] = ()
    """(milliseconds, polls) for each of `HORIZONS`: polls from now to then, with what comes free until then."""


def spend(ledger: UsageLedger, n: int, now: Instant) -> UsageLedger:
    """The ledger after `n` more requests at `now`; what no longer counts is dropped."""
    seconds = _added(_counting(ledger.seconds, BIN, MINUTE, now), BIN, n, now)
    buckets = _added(_counting(ledger.buckets, BUCKET, DAY, now), BUCKET, n, now)
    return replace(ledger, seconds=seconds, buckets=buckets)


def is_late(spent_at: Instant, now: Instant) -> bool:
    """Whether a request that was spent at `spent_at` and has not left by `now` has to be spent again: the ledger counts
    it from then on, and it would reach Exec later than that allows for. The process stood still, or a commit took
    long."""
    return now - spent_at > MARGIN


def allowed_now(ledger: UsageLedger, rate_limit: RateLimit, now: Instant, requests: int) -> int:
    """How many of `requests` requests may leave now: 0 while paused, never more than either window has left."""
    if _paused(ledger, now):
        return 0
    return max(0, min(requests, _minute_left(ledger, rate_limit, now), day_left(ledger, rate_limit, now)))


def remaining(ledger: UsageLedger, rate_limit: RateLimit, now: Instant) -> Remaining:
    """What may still be spent now and within each horizon. Never negative."""
    day = _day_limit(ledger, rate_limit, now)
    within = []
    counting = _counting(ledger.buckets, BUCKET, DAY, now)
    for ahead in HORIZONS:
        still_counts = sum(n for index, n in counting if _expiry(index, BUCKET, DAY) > now + ahead)
        within.append((ahead, max(0, day - still_counts)))
    return Remaining(
        max(0, _minute_left(ledger, rate_limit, now)), max(0, day_left(ledger, rate_limit, now)), tuple(within)
    )


def next_allowed_at(ledger: UsageLedger, rate_limit: RateLimit, now: Instant) -> Instant:
    """The earliest time, `now` or later, at which one more request is allowed."""
    seconds = _counting(ledger.seconds, BIN, MINUTE, now)
    buckets = _counting(ledger.buckets, BUCKET, DAY, now)
    return max(
        ledger.paused_until if _paused(ledger, now) else now,
        _falls_below(seconds, BIN, MINUTE, _minute_limit(ledger, rate_limit, now), now),
        _falls_below(buckets, BUCKET, DAY, _day_limit(ledger, rate_limit, now), now),
    )


def after_429(ledger: UsageLedger, rate_limit: RateLimit, retry_after: int | None, now: Instant) -> UsageLedger:
    """The ledger after a 429: paused, and with a smaller share of the window that the 429 is about.

    The pause is `retry_after` milliseconds, a day at most. Without it, the pause is a minute and doubles with each 429
    in a row. While paused, a further 429 can only prolong the pause: polls that were in flight together are refused
    together.
    """
    if _paused(ledger, now):
        until = now + min(max(retry_after or 0, 0), MAX_PAUSE)
        return replace(ledger, paused_until=max(ledger.paused_until, until))
    is_repeated = 0 <= now - ledger.paused_until <= 10 * MINUTE and ledger.refusals > 0
    refusals = ledger.refusals + 1 if is_repeated else 1
    pause = min(_PAUSE << min(refusals - 1, 4), 15 * MINUTE) if retry_after is None else max(retry_after, SECOND)
    minute, day = minute_share(ledger, now), day_share(ledger, now)
    is_day_limit = pause > _LONG or refusals >= _SURELY_THE_DAY
    if is_day_limit:
        day = _left_by_others(ledger, rate_limit, day, now)
    return replace(
        ledger,
        minute_share=minute if is_day_limit else max(minute * _SHRINK, MIN_SHARE),
        day_share=day,
        limited_at=now,
        refusals=refusals,
        paused_until=now + min(pause, MAX_PAUSE),
    )


def _left_by_others(ledger: UsageLedger, rate_limit: RateLimit, share: float, now: Instant) -> float:
    """The day's share after a 429 of the day: what was spent until then is what others leave, and a little less is
    sure. In steps, as the day of a relay that has just begun says little."""
    spent = sum(n for _, n in _counting(ledger.buckets, BUCKET, DAY, now))
    return max(min(share * _LIGHT_SHRINK, max(share * _SHRINK, _LIGHT_SHRINK * spent / rate_limit.day)), MIN_SHARE)


def minute_share(ledger: UsageLedger, now: Instant) -> float:
    """What others leave of the minute's rate_limit, 0.05 to 1: shrunk by 429s, half recovered every 15 minutes."""
    return _recovered(ledger.minute_share, now - ledger.limited_at, _MINUTE_HALF_LIFE)


def day_share(ledger: UsageLedger, now: Instant) -> float:
    """What others leave of the day's rate_limit, 0.05 to 1: shrunk by 429s, half recovered every two days."""
    return _recovered(ledger.day_share, now - ledger.limited_at, _DAY_HALF_LIFE)


def _recovered(share: float, elapsed: int, half_life: int) -> float:
    return 1.0 - (1.0 - share) * math.pow(0.5, max(elapsed, 0) / half_life)


def _minute_limit(ledger: UsageLedger, rate_limit: RateLimit, now: Instant) -> int:
    return max(1, int(rate_limit.minute * minute_share(ledger, now)))


def _day_limit(ledger: UsageLedger, rate_limit: RateLimit, now: Instant) -> int:
    return max(1, int(rate_limit.day * day_share(ledger, now)))


def _minute_left(ledger: UsageLedger, rate_limit: RateLimit, now: Instant) -> int:
    spent = sum(n for _, n in _counting(ledger.seconds, BIN, MINUTE, now))
    return _minute_limit(ledger, rate_limit, now) - spent


def day_left(ledger: UsageLedger, rate_limit: RateLimit, now: Instant) -> int:
    """Polls that the day's window still allows; negative if more were spent than it allows now."""
    spent = sum(n for _, n in _counting(ledger.buckets, BUCKET, DAY, now))
    return _day_limit(ledger, rate_limit, now) - spent


def _paused(ledger: UsageLedger, now: Instant) -> bool:
    return now < ledger.paused_until <= now + MAX_PAUSE + HOUR


def _expiry(index: int, width: int, window: int) -> Instant:
    """When a bin stops counting: its end decides, because a request may have been spent at its last instant."""
    return (index + 1) * width + window + MARGIN


def _counting(
    entries: tuple[tuple[int, int], ...], width: int, window: int, now: Instant, at: Instant | None = None
) -> tuple[tuple[int, int], ...]:
    """The entries that still count at `at` (by default `now`). An entry more than `_MAX_AHEAD` ahead was recorded by a
    wrong clock and counts as spent now."""
    instant, ahead = now if at is None else at, (now + _MAX_AHEAD) // width
    shifted_entries = ((index if index <= ahead else now // width, n) for index, n in entries)
    return tuple(e for e in shifted_entries if _expiry(e[0], width, window) > instant)


def _falls_below(entries: tuple[tuple[int, int], ...], width: int, window: int, limit: int, now: Instant) -> Instant:
    spent, at = sum(n for _, n in entries), now
    for index, n in sorted(entries):
        if spent < limit:
            break
        spent, at = spent - n, _expiry(index, width, window)
    return max(at, now)


def _added(entries: tuple[tuple[int, int], ...], width: int, n: int, now: Instant) -> tuple[tuple[int, int], ...]:
    """The entries with `n` more requests in the newest bin: that of `now`, or a slightly later one of another relay.

    Entries more than a minute ahead come from a clock that was set back: their requests were spent before now.
    """
    latest = (now + _MAX_AHEAD) // width
    newest = max([now // width, *(index for index, _ in entries if index <= latest)])
    counts: dict[int, int] = {}
    for index, spent in (*entries, (newest, n)):
        counts[min(index, newest)] = min(counts.get(min(index, newest), 0) + spent, MAX_SPENT)
    return tuple(sorted((index, spent) for index, spent in counts.items() if spent > 0))

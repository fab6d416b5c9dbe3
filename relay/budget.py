"""The budget of a workspace: how many looks may be sent now (Exec: 60 requests a minute and 1,000 a day for all).

How Exec counts its windows is not published, so both are kept in the strictest way: as rolling windows, in which no
span of a minute or a day ever holds more than the allowance, whether Exec's own windows roll or start at a full hour.
The last minute is exact. The day is kept in buckets of five minutes, and a bucket counts until all of it is a day old.
"""

import json
from dataclasses import dataclass, replace

from relay.model import DAY, MINUTE, SECOND, Instant

MINUTE_WINDOW = MINUTE + SECOND
"""A minute, and a second for the way to Exec: two looks sent a minute apart can arrive closer together."""

DAY_WINDOW = DAY + MINUTE
BUCKET = 5 * MINUTE
PAUSE_UNASKED = MINUTE
"""How long a workspace waits after a 429 that does not say how long."""

_SHRINK = 0.7
_SMALLEST = 0.1
_RECOVERS_IN = 6 * 60 * MINUTE
"""From the smallest learned share back to all of it, where no further 429 comes."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a relay may spend: Exec's limits times the share that the operator gives it."""

    per_minute: int
    per_day: int
    share: float


@dataclass(frozen=True, slots=True)
class Left:
    """Looks left in each window."""

    minute: int
    day: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was spent, newest last."""

    recent: tuple[Instant, ...] = ()
    """Each look of the last minute."""
    buckets: tuple[tuple[Instant, int], ...] = ()
    """(start, looks) of each five minutes of the last day in which there was one."""
    paused_until: Instant = 0
    learned: float = 1.0
    """The part of the allowance that others leave to the relay, as learned from 429s."""
    learned_at: Instant = 0

    def to_json(self) -> str:
        kept = [list(self.recent), [list(bucket) for bucket in self.buckets]]
        return json.dumps([*kept, self.paused_until, self.learned, self.learned_at])

    @classmethod
    def from_json(cls, text: str) -> "Ledger":
        """Raises ValueError for a text that `to_json` did not write."""
        try:
            recent, buckets, paused, learned, learned_at = json.loads(text)
            pairs = tuple((int(start), int(count)) for start, count in buckets)
            return cls(tuple(map(int, recent)), pairs, int(paused), float(learned), int(learned_at))
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError("this is no ledger") from error


def left(ledger: Ledger, allowance: Allowance, now: Instant) -> Left:
    """Looks that may still be sent in each window, pauses aside."""
    share = allowance.share * learned_share(ledger, now)
    minute = max(1, int(allowance.per_minute * share)) - len(_recent(ledger, now))
    day = max(1, int(allowance.per_day * share)) - sum(count for _, count in _buckets(ledger, now))
    return Left(max(0, minute), max(0, day))


def granted(ledger: Ledger, allowance: Allowance, now: Instant, wanted: int) -> int:
    """How many of `wanted` looks may be sent now."""
    if now < ledger.paused_until:
        return 0
    windows = left(ledger, allowance, now)
    return max(0, min(wanted, windows.minute, windows.day))


def spend(ledger: Ledger, looks: int, now: Instant) -> Ledger:
    """The ledger after so many looks were sent."""
    start = now - now % BUCKET
    buckets = dict(_buckets(ledger, now))
    buckets[start] = buckets.get(start, 0) + looks
    return replace(ledger, recent=(*_recent(ledger, now), *[now] * looks), buckets=tuple(sorted(buckets.items())))


def limited(ledger: Ledger, retry_after: int | None, now: Instant) -> Ledger:
    """The ledger after a 429: the workspace waits, and the relay leaves more of the allowance to others."""
    pause = PAUSE_UNASKED if retry_after is None else retry_after
    shrunk = max(_SMALLEST, learned_share(ledger, now) * _SHRINK)
    return replace(ledger, paused_until=max(ledger.paused_until, now + pause), learned=shrunk, learned_at=now)


def learned_share(ledger: Ledger, now: Instant) -> float:
    """The part of the allowance that others seem to leave, growing back to 1 while no 429 comes."""
    grown = (1 - _SMALLEST) * max(0, now - ledger.learned_at) / _RECOVERS_IN
    return min(1.0, ledger.learned + grown)


def opens_at(ledger: Ledger, allowance: Allowance, now: Instant) -> Instant:
    """The earliest instant at which one more look may be sent."""
    at = max(now, ledger.paused_until)
    for candidate in [at, *sorted(_freed_at(ledger))]:
        if candidate >= at and granted(ledger, allowance, candidate, 1):
            return candidate
    return max([at, *_freed_at(ledger)])


def _freed_at(ledger: Ledger) -> list[Instant]:
    minute = [spent + MINUTE_WINDOW for spent in ledger.recent]
    return minute + [start + BUCKET + DAY_WINDOW for start, _ in ledger.buckets]


def _recent(ledger: Ledger, now: Instant) -> tuple[Instant, ...]:
    # One from the future (the clock went back) counts as sent now: it leaves the window in time, never later.
    return tuple(min(spent, now) for spent in ledger.recent if spent > now - MINUTE_WINDOW)


def _buckets(ledger: Ledger, now: Instant) -> tuple[tuple[Instant, int], ...]:
    return tuple((start, count) for start, count in ledger.buckets if start + BUCKET > now - DAY_WINDOW)

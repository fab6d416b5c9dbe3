"""What a workspace spent of its request budget, as the store keeps it. `polling/request_budget.py` decides with it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from relay.times import DAY, MINUTE, SECOND, Instant

BIN = SECOND
"""Width of a bin of `UsageLedger.seconds`, in milliseconds."""
BUCKET = 5 * MINUTE
"""Width of a bin of `UsageLedger.buckets`, in milliseconds."""
MAX_PAUSE = DAY
MIN_SHARE = 0.05
MAX_SPENT = 10**9
"""The most requests that one bin counts."""


@dataclass(frozen=True, slots=True)
class UsageLedger:
    """The requests that a workspace spent. At most 370 numbers, however many were spent."""

    seconds: tuple[tuple[int, int], ...] = ()
    """(second since the epoch, requests) of the last minute."""
    buckets: tuple[tuple[int, int], ...] = ()
    """(five minutes since the epoch, requests) of the last day."""
    minute_share: float = 1.0
    """The share of the minute that other clients leave, as of `limited_at`: 0.05 to 1."""
    day_share: float = 1.0
    limited_at: Instant = 0
    refusals: int = 0
    """429s in a row; those of one pause count once."""
    paused_until: Instant = 0

    def to_json(self) -> str:
        """At most about 6 KB."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "UsageLedger":
        """The ledger that `to_json` wrote. Raises ValueError for any other text."""
        try:
            raw = json.loads(text)
            return cls(
                seconds=_entries(raw["seconds"]),
                buckets=_entries(raw["buckets"]),
                minute_share=_share(raw["minute_share"]),
                day_share=_share(raw["day_share"]),
                limited_at=int(raw["limited_at"]),
                refusals=min(max(int(raw["refusals"]), 0), 1_000),
                paused_until=int(raw["paused_until"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"not a usage ledger: {error}") from None


def shifted(ledger: UsageLedger, by: int) -> UsageLedger:
    """The ledger after the clock was set by `by` milliseconds: spent requests count as long as before, or longer."""
    return replace(
        ledger,
        seconds=shift_bins(ledger.seconds, BIN, by),
        buckets=shift_bins(ledger.buckets, BUCKET, by),
        limited_at=ledger.limited_at + by,
        paused_until=ledger.paused_until + by,
    )


def set_back(ledger: UsageLedger, by: int, now: Instant) -> UsageLedger:
    """As `shifted`, for a clock that was set back to `now`. What is not ahead of `now` stays, as the clock may have
    recorded it since it was set: moved back as well it would count no longer."""

    def ahead(entries: tuple[tuple[int, int], ...], width: int) -> tuple[tuple[int, int], ...]:
        stays = tuple(entry for entry in entries if entry[0] <= now // width)
        return merge_bins((*stays, *shift_bins(entries[len(stays) :], width, by)))

    return replace(shifted(ledger, by), seconds=ahead(ledger.seconds, BIN), buckets=ahead(ledger.buckets, BUCKET))


def moved_before(ledger: UsageLedger, by: int, before: Instant) -> UsageLedger:
    """The ledger in which requests spent before `before` count `by` milliseconds longer, or shorter if it is negative.

    A bin that also holds later requests stays.
    """
    buckets = _move_old(ledger.buckets, BUCKET, by, before)
    return replace(minute_moved_before(ledger, by, before), buckets=buckets)


def minute_moved_before(ledger: UsageLedger, by: int, before: Instant) -> UsageLedger:
    """As `moved_before`, for the minute alone. The bins of the day are wide: moved by a whole one at each of many
    restarts, they would never end."""
    return replace(ledger, seconds=_move_old(ledger.seconds, BIN, by, before))


def minute_later(ledger: UsageLedger, by: int) -> UsageLedger:
    """The ledger in which the minute's requests and the pause are `by` milliseconds later."""
    return replace(ledger, seconds=shift_bins(ledger.seconds, BIN, by), paused_until=ledger.paused_until + by)


def _move_old(
    entries: tuple[tuple[int, int], ...], width: int, by: int, before: Instant
) -> tuple[tuple[int, int], ...]:
    old = tuple(entry for entry in entries if (entry[0] + 1) * width <= before)
    return merge_bins((*shift_bins(old, width, by), *entries[len(old) :]))


def not_ahead(ledger: UsageLedger, now: Instant) -> UsageLedger:
    """The ledger with no request after `now`: requests that a clock recorded ahead of time count as spent now."""

    def cap_bins(entries: tuple[tuple[int, int], ...], width: int) -> tuple[tuple[int, int], ...]:
        return merge_bins((min(index, now // width), n) for index, n in entries)

    longest = now + MAX_PAUSE
    return replace(
        ledger,
        seconds=cap_bins(ledger.seconds, BIN),
        buckets=cap_bins(ledger.buckets, BUCKET),
        limited_at=min(ledger.limited_at, now),
        paused_until=min(ledger.paused_until, longest),
    )


def merge(left: UsageLedger, right: UsageLedger) -> UsageLedger:
    """The ledger of two that each know a part of the spent requests: the greater number of each bin."""

    def greater(
        of_one: tuple[tuple[int, int], ...], of_other: tuple[tuple[int, int], ...]
    ) -> tuple[tuple[int, int], ...]:
        first, second = dict(of_one), dict(of_other)
        return tuple((index, max(first.get(index, 0), second.get(index, 0))) for index in sorted({*first, *second}))

    return replace(
        max(left, right, key=lambda ledger: ledger.limited_at),
        seconds=greater(left.seconds, right.seconds),
        buckets=greater(left.buckets, right.buckets),
        paused_until=max(left.paused_until, right.paused_until),
    )


def with_minute_spent(ledger: UsageLedger, requests: int, now: Instant) -> UsageLedger:
    """The ledger with `requests` spent in this minute, for a relay of whose requests nothing else is known."""
    return replace(ledger, seconds=merge_bins((*ledger.seconds, (now // BIN, requests))))


def shift_bins(entries: tuple[tuple[int, int], ...], width: int, by: int) -> tuple[tuple[int, int], ...]:
    return tuple((index - (-by // width), n) for index, n in entries)


def merge_bins(entries: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    counts: dict[int, int] = {}
    for index, n in entries:
        counts[index] = min(counts.get(index, 0) + n, MAX_SPENT)
    return tuple(sorted(counts.items()))


def _entries(raw: Any) -> tuple[tuple[int, int], ...]:
    pairs: Iterable[Any] = raw[-1_000:]
    entries = tuple(sorted((int(index), int(n)) for index, n in pairs))
    if any(not 0 < n <= MAX_SPENT for _, n in entries):
        raise ValueError("a number of requests is out of range")
    return entries


def _share(raw: Any) -> float:
    if not MIN_SHARE <= float(raw) <= 1:
        raise ValueError("a share is out of range")
    return float(raw)

"""How many jobs were registered when, as the store keeps it. `polling/schedule/arrival_forecast.py` uses it."""

import json
from dataclasses import dataclass

from relay.times import MINUTE

MAX_HOURS = 7 * 24
SLOT = 10 * MINUTE
"""Width of a slot of `ArrivalHistory.slots`, in milliseconds."""
MAX_SLOTS = 2 * 24 * 6
MAX_JOBS = 10**9
"""The most jobs that one hour counts."""


@dataclass(frozen=True, slots=True)
class ArrivalHistory:
    """Jobs registered, by hour and by ten minutes. At most 913 numbers."""

    hours: tuple[tuple[int, int], ...] = ()
    """(hour since the epoch, jobs), oldest first, hours without jobs left out, of the last seven days."""
    slots: tuple[tuple[int, int], ...] = ()
    """(ten minutes since the epoch, jobs), oldest first, those without jobs left out, of the last two days."""
    since: int | None = None
    """The minute since the epoch in which counting began."""

    def to_json(self) -> str:
        """At most about 9 KB."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "ArrivalHistory":
        """Reads what `to_json` wrote. Raises ValueError for any other text."""
        try:
            raw = json.loads(text)
            hours, slots = _counts(raw["hours"][-MAX_HOURS:]), _counts(raw["slots"][-MAX_SLOTS:])
            since = None if raw["since"] is None else int(raw["since"])
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"not an arrival history: {error}") from None
        if any(not 0 < jobs <= MAX_JOBS for _, jobs in (*hours, *slots)):
            raise ValueError("not an arrival history: a number of jobs is out of range")
        return cls(hours, slots, since)


def _counts(raw: list[list[int]]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted((int(start), int(jobs)) for start, jobs in raw))

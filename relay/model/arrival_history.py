"""How many jobs were registered in each hour, as the store keeps it. `polling/schedule/arrival_forecast.py` uses it."""

import json
from dataclasses import dataclass

MAX_HOURS = 7 * 24
MAX_JOBS = 10**9
"""The most jobs that one hour counts."""


@dataclass(frozen=True, slots=True)
class ArrivalHistory:
    """Jobs registered, by hour. At most 506 numbers."""

    hours: tuple[tuple[int, int, int], ...] = ()
    """(hour since the epoch, jobs, minutes with jobs), oldest first, hours without jobs left out, of the last seven
    days."""
    since: int | None = None
    """The minute since the epoch in which counting began."""
    last: int = 0
    """The last minute since the epoch with jobs."""

    def to_json(self) -> str:
        """At most about 3 KB."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "ArrivalHistory":
        """Reads what `to_json` wrote. Raises ValueError for any other text."""
        try:
            raw = json.loads(text)
            hours = tuple(sorted((int(hour), int(jobs), int(n)) for hour, jobs, n in raw["hours"][-MAX_HOURS:]))
            since, last = None if raw["since"] is None else int(raw["since"]), int(raw["last"])
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"not an arrival history: {error}") from None
        if any(not 0 < minutes <= jobs <= MAX_JOBS for _, jobs, minutes in hours):
            raise ValueError("not an arrival history: a number of jobs is out of range")
        return cls(hours, since, last)

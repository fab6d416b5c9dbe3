"""How many jobs were registered in each hour, as the store keeps it. `polling/schedule/arrival_forecast.py` uses it."""

import json
from dataclasses import dataclass

KEPT_HOURS = 7 * 24
MOST_JOBS = 10**9
"""The most jobs that one hour counts."""


@dataclass(frozen=True, slots=True)
class ArrivalHistory:
    """Jobs registered, by hour. At most 337 numbers."""

    hours: tuple[tuple[int, int], ...] = ()
    """(hour since the epoch, jobs) of the last seven days, oldest first, without empty hours."""
    since: int | None = None
    """The hour in which counting began."""

    def to_json(self) -> str:
        """At most about 3 KB."""
        return json.dumps({"hours": self.hours, "since": self.since}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "ArrivalHistory":
        """The history that `to_json` wrote. Raises ValueError for any other text."""
        try:
            raw = json.loads(text)
            hours = tuple(sorted((int(hour), int(jobs)) for hour, jobs in raw["hours"][-KEPT_HOURS:]))
            since = None if raw["since"] is None else int(raw["since"])
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"not an arrival history: {error}") from None
        if any(not 0 < jobs <= MOST_JOBS for _, jobs in hours):
            raise ValueError("not an arrival history: a number of jobs is out of range")
        return cls(hours, since)

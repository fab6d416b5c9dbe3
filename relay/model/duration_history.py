"""How long a workspace's past jobs took, as the store keeps it. `polling/schedule/job_durations.py` learns from it."""

import json
import math
from dataclasses import dataclass
from typing import Any

from relay.times import DAY, HOUR

MAX_COMPLETED = 300
"""Durations kept, of the jobs that began last."""
MAX_OF_AN_HOUR = 8
"""Durations kept beyond that, of the jobs that began last in each hour of the day."""
MAX_UNFINISHED = 20
MAX_QUEUE_TIMES = 50
MAX_ALREADY_ENDED = 50
"""Jobs for which the history keeps whether they had ended when they were registered."""
MAX_DURATION = DAY / 1_000
"""Seconds: a longer duration is not kept."""


@dataclass(frozen=True, slots=True)
class DurationHistory:
    """What was observed of one workspace's jobs. At most 1,100 numbers."""

    completed: tuple[tuple[int, float], ...] = ()
    """(start, ln duration) of ended jobs, by start. Start in seconds since the epoch, duration in seconds."""
    unfinished: tuple[int, ...] = ()
    """Starts of jobs that never ended, in seconds since the epoch."""
    queue_times: tuple[float, ...] = ()
    """Seconds from creation to start, the newest last."""
    already_ended: tuple[bool, ...] = ()
    """Whether each job had ended already when it was registered, as its first poll showed; the newest last."""
    ahead: int = 0
    """Milliseconds that Exec's clock is ahead of the relay's; negative if it is behind."""

    def to_json(self) -> str:
        """At most about 12 KB."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "DurationHistory":
        """Reads what `to_json` wrote. Raises ValueError for any other text."""
        try:
            raw = json.loads(text)
            completed = sorted(
                (int(start), _number(log)) for start, log in raw["completed"][-MAX_COMPLETED - 24 * MAX_OF_AN_HOUR :]
            )
            never = [int(start) for start in raw["unfinished"][-MAX_UNFINISHED:]]
            waits = [_number(wait) for wait in raw["queue_times"][-MAX_QUEUE_TIMES:]]
            already_ended = tuple(bool(ended) for ended in raw["already_ended"][-MAX_ALREADY_ENDED:])
            ahead = int(_number(raw["ahead"]))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"not a duration history: {error}") from None
        return cls(
            tuple((start, log) for start, log in completed if -3 <= log <= math.log(MAX_DURATION)),
            tuple(never),
            tuple(wait for wait in waits if 0 <= wait <= HOUR / 1_000),
            already_ended,
            ahead,
        )


def _number(raw: Any) -> float:
    if not math.isfinite(raw):
        raise ValueError("a number is not finite")
    return float(raw)

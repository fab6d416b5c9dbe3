"""How long a workspace's past jobs took, as the store keeps it. `polling/schedule/job_durations.py` learns from it."""

import json
import math
from dataclasses import dataclass
from typing import Any

from relay.times import DAY, HOUR

KEPT = 200
"""How many durations are kept: those of the jobs that started last."""
KEPT_UNFINISHED = 20
KEPT_QUEUE_TIMES = 20
LONGEST = DAY / 1_000
"""Seconds: a longer duration is not kept."""
READY = 0.9
"""The prior share of jobs that have ended before they are registered. It is high, so that immediate first polls stop
only after some hundred jobs have shown them to be useless, or if the budget is short."""


@dataclass(frozen=True, slots=True)
class DurationHistory:
    """The observed durations of one workspace's jobs. At most 440 numbers."""

    completed: tuple[tuple[int, float], ...] = ()
    """(start, ln duration) of ended jobs, by start. Start in seconds since the epoch, duration in seconds."""
    unfinished: tuple[int, ...] = ()
    """Starts of jobs that never ended, in seconds since the epoch."""
    queue_times: tuple[float, ...] = ()
    """Seconds from creation to start, the newest last."""
    share_already_ended: float = READY
    """The share of jobs that had ended already when they were registered."""

    def to_json(self) -> str:
        """At most about 5 KB."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "DurationHistory":
        """The history that `to_json` wrote. Raises ValueError for any other text."""
        try:
            raw = json.loads(text)
            completed = sorted((int(start), _number(log)) for start, log in raw["completed"][-KEPT:])
            unfinished = [int(start) for start in raw["unfinished"][-KEPT_UNFINISHED:]]
            queue_times = [_number(wait) for wait in raw["queue_times"][-KEPT_QUEUE_TIMES:]]
            share = min(max(_number(raw.get("share_already_ended", READY)), 0.0), 1.0)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"not a duration history: {error}") from None
        return cls(
            tuple((start, log) for start, log in completed if -3 <= log <= math.log(LONGEST)),
            tuple(unfinished),
            tuple(wait for wait in queue_times if 0 <= wait <= HOUR / 1_000),
            share,
        )


def _number(raw: Any) -> float:
    if not math.isfinite(raw):
        raise ValueError("a number is not finite")
    return float(raw)

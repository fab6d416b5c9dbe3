"""What past jobs teach of how long the next one takes.

Durations come from Exec's own timestamps, so they are exact, not rounded to our looks. Their law is a kernel estimate
on the logarithm of time (Silverman, 'Density Estimation', 1986, 5.3: wider kernels where observations are sparse),
which knows more than one mode: quick failures beside five-minute successes. Before anything was seen, a lognormal with
a median of 5 minutes (what Exec's documentation says) stands in for it.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from relay.law import AGES, Law
from relay.model import DAY, HOUR, ScenarioJob

KEPT = 150
"""Durations kept, the newest: an old law is forgotten with them."""
_FADING = 60.0
"""A duration counts 1/e as much as the newest when this many came after it."""

PRIOR_MEDIAN = 300.0
PRIOR_SIGMA = 0.6
_PRIOR_WEIGHT = 1.0
_WIDE_SHARE = 0.01
_WIDE_SIGMA = 1.5
_NEVER_SHARE = 0.02
_NEVER_WEIGHT = 20.0
_KEPT_WAITS = 20
_PRIOR_WAIT = 5.0
_LEAST_WIDTH = 0.03


@dataclass(frozen=True, slots=True)
class Durations:
    """What was observed of one workspace's jobs. At most 170 numbers."""

    logs: tuple[float, ...] = ()
    """ln(seconds) from start to end, oldest first."""
    waits: tuple[float, ...] = ()
    """Seconds from creation to start, oldest first."""
    never: float = 0.0
    """Jobs that did not end, faded as the durations are."""

    def to_json(self) -> str:
        """At most about 2 KB."""
        logs, waits = [round(x, 3) for x in self.logs], [round(x, 1) for x in self.waits]
        return json.dumps({"logs": logs, "waits": waits, "never": round(self.never, 4)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Durations":
        """What `to_json` wrote. Raises ValueError where the text is none of it."""
        try:
            raw = json.loads(text)
            logs, waits = _numbers(raw["logs"]), _numbers(raw["waits"])
            (never,) = _numbers([raw["never"]])
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"these are no durations: {error}") from None
        fine = tuple(x for x in logs if math.log(0.01) <= x <= math.log(DAY / 1_000))
        return cls(fine[-KEPT:], tuple(x for x in waits if 0 <= x <= HOUR)[-_KEPT_WAITS:], min(max(never, 0), KEPT))


def observe(durations: Durations, seconds: float) -> Durations:
    """One more completed job that took so many seconds. Absurd values (≤ 0, > 24 h, NaN) are ignored."""
    if not 0 < seconds <= DAY / 1_000:
        return durations
    logs = (*durations.logs, math.log(max(seconds, 0.1)))[-KEPT:]
    return replace(durations, logs=logs, never=durations.never * math.exp(-1 / _FADING))


def observe_never(durations: Durations) -> Durations:
    """One more job that did not end while it was watched."""
    return replace(durations, never=durations.never * math.exp(-1 / _FADING) + 1.0)


def observe_wait(durations: Durations, seconds: float) -> Durations:
    """One more job that was queued for so many seconds. Absurd values (< 0, > 1 h, NaN) are ignored."""
    if not 0 <= seconds <= HOUR / 1_000:
        return durations
    return replace(durations, waits=(*durations.waits, seconds)[-_KEPT_WAITS:])


def observe_job(durations: Durations, job: ScenarioJob) -> Durations:
    """What an ended job teaches, by Exec's own timestamps; where they are missing or absurd, nothing."""
    if job.started is None:
        return durations
    if job.created is not None:
        durations = observe_wait(durations, (job.started - job.created) / 1_000)
    return durations if job.ended is None else observe(durations, (job.ended - job.started) / 1_000)


def usual_wait(durations: Durations) -> float:
    """Seconds that a job is usually queued: the median of the last twenty and a prior of 5 s."""
    waits = sorted((*durations.waits, _PRIOR_WAIT))
    return waits[len(waits) // 2]


def law(durations: Durations) -> Law:
    """The learned law: kernels at the durations seen, the prior, and 1% of a wide law, so that no age is hopeless."""
    weights = [math.exp((k + 1 - len(durations.logs)) / _FADING) for k in range(len(durations.logs))]
    seen = sum(weights)
    total = seen + _PRIOR_WEIGHT
    never = (durations.never + _NEVER_SHARE * _NEVER_WEIGHT) / (durations.never + seen + _NEVER_WEIGHT)
    kernels = list(zip(durations.logs, _widths(durations.logs), weights, strict=True))
    kernels.append((math.log(PRIOR_MEDIAN), PRIOR_SIGMA, _PRIOR_WEIGHT))
    kernels.append((math.log(PRIOR_MEDIAN), _WIDE_SIGMA, total * _WIDE_SHARE / (1 - _WIDE_SHARE)))
    mass = total / (1 - _WIDE_SHARE)
    ended, highest = [], 0.0
    for age in AGES:
        highest = max(highest, _mixture(math.log(age), kernels) / mass)
        ended.append(min((1 - never) * highest, 1 - never))
    return Law(tuple(ended))


def _mixture(x: float, kernels: Sequence[tuple[float, float, float]]) -> float:
    total = 0.0
    for centre, width, weight in kernels:
        z = (x - centre) / width
        if z > 4:
            total += weight
        elif z > -4:
            total += weight * 0.5 * math.erfc(-z * math.sqrt(0.5))
    return total


def _widths(logs: Sequence[float]) -> list[float]:
    """A kernel's width for each observation: robust rule of thumb, or the distance to near neighbours if longer."""
    n = len(logs)
    if n < 3:
        return [PRIOR_SIGMA / 2] * n
    ordered = sorted(logs)
    mean = sum(ordered) / n
    deviation = math.sqrt(sum((x - mean) ** 2 for x in ordered) / (n - 1))
    half = (n + 1) // 2
    shorth = min(ordered[k + half - 1] - ordered[k] for k in range(n - half + 1))
    width = max(0.9 * min(deviation, shorth / 1.35) * float(n**-0.2), _LEAST_WIDTH)
    near = max(2, round(math.sqrt(n) / 2))
    return [max(width, 0.5 * _reach(ordered, x, near)) for x in logs]


def _reach(ordered: Sequence[float], x: float, near: int) -> float:
    return sorted(abs(other - x) for other in ordered)[min(near, len(ordered) - 1)]


def _numbers(raw: Any) -> tuple[float, ...]:
    numbers = tuple(float(x) for x in raw[-1_000:])
    if not all(math.isfinite(x) for x in numbers):
        raise ValueError("a number is not finite")
    return numbers

"""What past jobs teach of how long the next one takes.

Durations come from Exec's own timestamps, so they are exact, not rounded to our looks. Their law is a kernel estimate
on the logarithm of time (Silverman, 'Density Estimation', 1986), which knows more than one mode: quick failures beside
five-minute successes. Jobs still going count too, as lasting longer than they were last seen to (Kaplan and Meier,
'Nonparametric estimation from incomplete observations', 1958): else the first to end of a hundred jobs begun together
would pass for all of them. Before anything was seen, a lognormal with a median of 5 minutes, which Exec's documentation
says, stands in for it.

Old jobs fade, and where the newest follow another law than those before, the others are forgotten at once.
"""

import json
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from relay.estimate import changed_at, mixture, product_limit, widths
from relay.law import AGES, Law, lognormal_cdf, make_law
from relay.model import DAY, HOUR, Instant, ScenarioJob

KEPT = 200
"""Durations kept, of the jobs that began last."""
PRIOR_MEDIAN = 300.0
PRIOR_SIGMA = 0.6
NEVER = 0.02
"""The share of jobs that is taken never to end, before any was seen."""
WIDE = 0.01
"""The share of a wide law that is always mixed in, so that no age is without hope."""

READY = 0.9
"""The share of jobs that is taken to have ended when they are registered, before any was: so many that first looks at
once are given up only after some hundred jobs have shown them to be useless, and where the budget is short."""

_READY_FADES = 50
_WIDE_SIGMA = 1.5
_PRIOR_FADES = 20.0
"""The prior counts as much as one job at first, half as much when so many were seen."""
_NEVER_FADES = 25.0
_FADING = 90.0
"""A duration counts 1/e as much as the newest when so many jobs began after it."""
_TOGETHER = 600
"""Jobs begun within so many seconds are as good as begun together: which ended first says nothing of their order."""
_CHANGED = 2.1
_KEPT_NEVER = 20
_KEPT_WAITS = 20
_PRIOR_WAIT = 5.0
_LONGEST = DAY / 1_000
_LOGS = tuple(math.log(age) for age in AGES)
_PRIOR = tuple(lognormal_cdf(age, PRIOR_MEDIAN, PRIOR_SIGMA) for age in AGES)
_WIDE = tuple(lognormal_cdf(age, PRIOR_MEDIAN, _WIDE_SIGMA) for age in AGES)
_BASE = tuple((1 - NEVER - WIDE) * prior + WIDE * wide for prior, wide in zip(_PRIOR, _WIDE, strict=True))


@dataclass(frozen=True, slots=True)
class Durations:
    """What was observed of one workspace's jobs. At most 440 numbers."""

    seen: tuple[tuple[int, float], ...] = ()
    """(start, ln duration) of jobs that ended, by their start; seconds since the epoch, and of seconds."""
    never: tuple[int, ...] = ()
    """Starts of jobs that did not end, seconds since the epoch."""
    waits: tuple[float, ...] = ()
    """Seconds from creation to start, the newest last."""
    ready: float = READY
    """The share of jobs that had ended already when they were registered."""

    def to_json(self) -> str:
        """At most about 5 KB."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Durations":
        """What `to_json` wrote. Raises ValueError where the text is none of it."""
        try:
            raw = json.loads(text)
            seen = sorted((int(start), _number(log)) for start, log in raw["seen"][-KEPT:])
            never = [int(start) for start in raw["never"][-_KEPT_NEVER:]]
            waits = [_number(wait) for wait in raw["waits"][-_KEPT_WAITS:]]
            ready = min(max(_number(raw.get("ready", READY)), 0.0), 1.0)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"these are no durations: {error}") from None
        return cls(
            tuple((start, log) for start, log in seen if -3 <= log <= math.log(_LONGEST)),
            tuple(never),
            tuple(wait for wait in waits if 0 <= wait <= HOUR / 1_000),
            ready,
        )


def observe(durations: Durations, seconds: float, seen_at: Instant | None = None) -> Durations:
    """One more job that ended and took so many seconds. Absurd values (≤ 0, > 24 h, NaN) are ignored.

    `seen_at` is when the relay saw it: by its own clock, not Exec's, old observations are told from new ones.
    """
    if not 0 < seconds <= _LONGEST:
        return durations
    start = _newest(durations) if seen_at is None else round(seen_at / 1_000 - seconds)
    now = start if seen_at is None else seen_at // 1_000
    known = [(min(begun, now), log) for begun, log in durations.seen]
    known.append((start, round(math.log(max(seconds, 0.1)), 4)))
    return replace(durations, seen=tuple(sorted(sorted(known, key=_order)[-KEPT:])))


def observe_never(durations: Durations, seen_at: Instant | None = None) -> Durations:
    """One more job that did not end while it was watched."""
    start = _newest(durations) if seen_at is None else round(seen_at / 1_000 - _LONGEST)
    return replace(durations, never=(*durations.never, start)[-_KEPT_NEVER:])


def observe_wait(durations: Durations, seconds: float) -> Durations:
    """One more job that was queued for so many seconds. Absurd values (< 0, > 1 h, NaN) are ignored."""
    if not 0 <= seconds <= HOUR / 1_000:
        return durations
    return replace(durations, waits=(*durations.waits, round(seconds, 1))[-_KEPT_WAITS:])


def observe_ready(durations: Durations, ready: bool) -> Durations:
    """One more job, which had ended already when it was registered, or not: the newest fifty count most."""
    return replace(durations, ready=round(durations.ready + (ready - durations.ready) / _READY_FADES, 5))


def observe_job(
    durations: Durations, job: ScenarioJob, seen_at: Instant | None = None, registered_at: Instant | None = None
) -> Durations:
    """What an ended job teaches, by Exec's own timestamps; where they are missing or absurd, nothing."""
    if job.ended is not None and registered_at is not None:
        durations = observe_ready(durations, job.ended <= registered_at)
    if job.started is None:
        return durations
    if job.created is not None:
        durations = observe_wait(durations, (job.started - job.created) / 1_000)
    return durations if job.ended is None else observe(durations, (job.ended - job.started) / 1_000, seen_at)


def usual_wait(durations: Durations) -> float:
    """Seconds that a job is usually queued: the median of the last twenty and a prior of 5 s."""
    waits = sorted((*durations.waits, _PRIOR_WAIT))
    return waits[len(waits) // 2]


def law(durations: Durations, going: Sequence[tuple[Instant, float]] = ()) -> Law:
    """The learned law. `going` are the active jobs: when each began, and its age in seconds when last seen going.

    Of what was seen, by weight, as the product-limit estimate shares it out; of the prior, as much as one job and
    less as more are seen; 1% of a wide law (σ 1.5).
    """
    starts = [start for start, _ in durations.seen]
    forgotten = _forgotten(durations)
    ended = [(log, _weight(starts, start) if start >= forgotten else 0.0) for start, log in durations.seen]
    still = [(math.log(max(age, 0.1)), _weight(starts, at // 1_000)) for at, age in going]
    still += [(math.log(_LONGEST), _weight(starts, start)) for start in durations.never]
    ended = [(log, weight) for log, weight in ended if weight > 0]
    shares, longer = product_limit(ended, still)
    longest = max((log for log, _ in ended), default=-math.inf)
    beyond = [(log, weight) for log, weight in still if log >= longest]
    total = sum(weight for _, weight in ended) + sum(weight for _, weight in beyond)
    prior = 1.0 / (1.0 + total / _PRIOR_FADES)
    logs = [log for log, _ in ended]
    kernels = list(zip(logs, widths(logs, PRIOR_SIGMA / 2), shares, strict=True))
    tail = _given_longer(beyond) if beyond else [0.0] * len(AGES)
    learned = [by_then + longer * late for by_then, late in zip(mixture(_LOGS, kernels), tail, strict=True)]
    share, rest = (1 - WIDE) * total / (total + prior), (1 - WIDE) * prior / (total + prior)
    parts = zip(learned, _PRIOR, _WIDE, strict=True)
    never = NEVER / (1.0 + total / _NEVER_FADES)
    return make_law([share * one + rest * other + WIDE * wide for one, other, wide in parts], never)


def _given_longer(beyond: Sequence[tuple[float, float]]) -> list[float]:
    """The probability of having ended by each age of the table, before anything was seen, for jobs that were seen to
    last longer than the (ln age, weight) given."""
    waiting = sorted(beyond)
    total = sum(weight for _, weight in waiting)
    found, passed, scale, offset = [], 0, 0.0, 0.0
    for log, base in zip(_LOGS, _BASE, strict=True):
        while passed < len(waiting) and waiting[passed][0] <= log:
            scale += waiting[passed][1] / (1 - base)
            offset += waiting[passed][1] * base / (1 - base)
            passed += 1
        found.append((base * scale - offset) / total)
    return found


def _forgotten(durations: Durations) -> int:
    """The start from which on jobs count. Those too young for the slow of their kind to have ended are no proof."""
    if len(durations.seen) < 16:
        return 0
    slow = math.exp(sorted(log for _, log in durations.seen)[len(durations.seen) * 19 // 20])
    until = max(start + math.exp(log) for start, log in durations.seen) - slow
    ripe = sorted((one for one in durations.seen if one[0] <= until), key=_order)
    at = changed_at([log for _, log in ripe], _CHANGED)
    return ripe[at][0] if at else 0


def _order(one: tuple[int, float]) -> tuple[int, float]:
    """By start; among those begun together by chance, not by which ended first."""
    return one[0] // _TOGETHER, math.modf(one[1] * 9_973.7)[0]


def _weight(starts: Sequence[int], start: float) -> float:
    return math.exp((bisect_right(starts, start + _TOGETHER) - len(starts)) / _FADING)


def _newest(durations: Durations) -> int:
    return max((start for start, _ in durations.seen), default=0)


def _number(raw: Any) -> float:
    if not math.isfinite(raw):
        raise ValueError("a number is not finite")
    return float(raw)

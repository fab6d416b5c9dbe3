"""Learns from past jobs how long the next one takes.

Durations come from Exec's own timestamps, so they are exact, not rounded to the times of polls. Their distribution is a
kernel estimate on the logarithm of time (Silverman, 'Density Estimation', 1986), which can have several modes: quick
failures beside five-minute successes. Jobs that are still running count as lasting longer than their age at the last
poll (Kaplan and Meier, 'Nonparametric estimation from incomplete observations', 1958): otherwise the first jobs to end
of a hundred that began together would pass for all of them. Before any job was observed, the prior is a lognormal with
a median of 5 minutes, the duration that Exec's documentation gives.

If jobs take longer at some hours of the day than at others, those of the present hours count alone
(`daily_pattern.py`). Old jobs fade. If the distribution of the newest jobs has changed, the jobs before the change are
dropped at once.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from relay.model import DAY, HOUR, SECOND, Instant, ScenarioJob
from relay.model.duration_history import (
    MAX_ALREADY_ENDED,
    MAX_COMPLETED,
    MAX_DURATION,
    MAX_OF_AN_HOUR,
    MAX_QUEUE_TIMES,
    MAX_UNFINISHED,
    DurationHistory,
)
from relay.polling.schedule.daily_pattern import hour_of_day, hours_like
from relay.polling.schedule.density_estimate import (
    change_point,
    gaussian_mixture_cdf,
    kaplan_meier,
    kernel_bandwidths,
    steps,
)
from relay.polling.schedule.duration_distribution import AGES, DurationDistribution, from_cdf_table, lognormal_cdf

PRIOR_MEDIAN = 300.0
PRIOR_SIGMA = 0.5
UNFINISHED_SHARE = 0.02
"""The share of jobs that never end, before any was observed."""
BROAD_PRIOR_WEIGHT = 0.01
"""The weight of a wide distribution that is always mixed in, so that every age has some probability."""

EXPLORE_ONE_IN = 50
"""One in so many postponed first polls is made at once. The history keeps as many answers to whether a job had ended
when it was registered, so that at least one of them is always new (constant exploration, necessary because what is
learned may change: Sutton and Barto, 'Reinforcement Learning', 2018, 2.5)."""

_MIN_SHARE_IF_AMPLE = 0.2

_WIDE_SIGMA = 1.5
_PRIOR_FADES = 20.0
"""The prior counts as much as one job at first, and half as much after so many jobs."""
_UNFINISHED_FADES = 25.0
_FADING = 150.0
"""A duration counts 1/e as much as the newest when so many jobs began after it."""
_SAME_START = 600
"""Jobs that began within so many seconds count as begun together: which ended first says nothing about their order."""
_CHANGED = 2.1
_PRIOR_WAIT = 5.0
_SAME_CLOCK = 2 * SECOND
_LOGS = tuple(math.log(age) for age in AGES)
_PRIOR = tuple(lognormal_cdf(age, PRIOR_MEDIAN, PRIOR_SIGMA) for age in AGES)
_WIDE = tuple(lognormal_cdf(age, PRIOR_MEDIAN, _WIDE_SIGMA) for age in AGES)
_BASE = tuple(
    (1 - UNFINISHED_SHARE - BROAD_PRIOR_WEIGHT) * prior + BROAD_PRIOR_WEIGHT * wide
    for prior, wide in zip(_PRIOR, _WIDE, strict=True)
)


def observe(durations: DurationHistory, seconds: float, seen_at: Instant | None = None) -> DurationHistory:
    """The history with one more job that ended and took so many seconds. Impossible values (≤ 0, > 24 h, NaN) are
    ignored.

    `seen_at` is when the relay saw it, by its own clock, not Exec's: it distinguishes old observations from new ones.
    """
    if not 0 < seconds <= MAX_DURATION:
        return durations
    start = _newest(durations) if seen_at is None else round(seen_at / 1_000 - seconds)
    now = start if seen_at is None else seen_at // 1_000
    completed = [(min(started_at, now), log) for started_at, log in durations.completed]
    completed.append((start, round(math.log(max(seconds, 0.1)), 4)))
    return replace(durations, completed=tuple(sorted(_kept(sorted(completed, key=_order)))))


def _kept(completed: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Of jobs in order, the newest, and the newest that began in each hour of the day: a day's jobs may be more than
    are kept."""
    of_hour = Counter[int]()
    kept = []
    for age, job in enumerate(reversed(completed)):
        of_hour[hour_of_day(job[0])] += 1
        if age < MAX_COMPLETED or of_hour[hour_of_day(job[0])] <= MAX_OF_AN_HOUR:
            kept.append(job)
    return kept


def observe_unfinished(durations: DurationHistory, seen_at: Instant | None = None) -> DurationHistory:
    """The history with one more job that did not end while it was watched."""
    start = _newest(durations) if seen_at is None else round(seen_at / 1_000 - MAX_DURATION)
    return replace(durations, unfinished=(*durations.unfinished, start)[-MAX_UNFINISHED:])


def observe_queue_time(durations: DurationHistory, seconds: float) -> DurationHistory:
    """The history with one more job that was queued for so many seconds. Impossible values (< 0, > 1 h, NaN) are
    ignored."""
    if not 0 <= seconds <= HOUR / 1_000:
        return durations
    return replace(durations, queue_times=(*durations.queue_times, round(seconds, 1))[-MAX_QUEUE_TIMES:])


def observe_already_ended(durations: DurationHistory, ended: bool) -> DurationHistory:
    """The history with one more job, and whether it had ended already when it was registered."""
    return replace(durations, already_ended=(*durations.already_ended, ended)[-MAX_ALREADY_ENDED:])


def ended_share(durations: DurationHistory) -> float:
    """The share of jobs that have ended when they are registered: the greatest of the shares among the newest 4, 8, 16,
    32 and 50, because jobs registered together are alike."""
    return max(sum(durations.already_ended[-newest:]) / newest for newest in (4, 8, 16, 32, MAX_ALREADY_ENDED))


def may_have_ended(durations: DurationHistory, ample: bool = False) -> float:
    """An upper bound of the share of jobs that have ended when they are registered.

    By the rule of three: if none of n had, up to 3/n may, at 95% confidence (Hanley and Lippman-Hand, 'If nothing
    goes wrong, is everything all right?', 1983). None of fifty: up to 6%; before the first, any job may.

    `ample`: at least half of the day's polls are left. Then the bound is at least one in five, so that a first poll at
    once is dropped only if it costs four times what it may save.
    """
    lower_bound = _MIN_SHARE_IF_AMPLE if ample else 0.0
    return min(max(ended_share(durations), 3 / max(len(durations.already_ended), 1), lower_bound), 1.0)


def observe_clock(durations: DurationHistory, date: Instant, now: Instant) -> DurationHistory:
    """The history after an answer of Exec with this `Date` header, received `now` by the relay's clock.

    The header is cut to whole seconds, so half a second is added; less than two seconds counts as no difference.
    """
    ahead = date + SECOND // 2 - now
    if abs(ahead) > DAY or abs(ahead - durations.ahead) < _SAME_CLOCK:
        return durations
    return replace(durations, ahead=ahead if abs(ahead) >= _SAME_CLOCK else 0)


def observe_job(durations: DurationHistory, job: ScenarioJob, seen_at: Instant | None = None) -> DurationHistory:
    """The history with an ended job, by Exec's own timestamps; unchanged if they are missing or absurd."""
    if job.started_at_ms is None:
        return durations
    if job.created_at_ms is not None:
        durations = observe_queue_time(durations, (job.started_at_ms - job.created_at_ms) / 1_000)
    return (
        durations
        if job.ended_at_ms is None
        else observe(durations, (job.ended_at_ms - job.started_at_ms) / 1_000, seen_at)
    )


def median_queue_time(durations: DurationHistory, waited: float = 0.0) -> float:
    """Seconds that a job is queued in all, if it has been queued for `waited`: the median of the longer ones of the
    last fifty and a prior of 5 s. By hand: of queue times of 5, 5, 5, 600 and 620 s, a job that is still queued after
    30 s waits 620 s."""
    longer_waits = sorted(wait for wait in (*durations.queue_times, _PRIOR_WAIT) if wait >= waited)
    return longer_waits[len(longer_waits) // 2] if longer_waits else waited


def fit_distribution(
    durations: DurationHistory, running: Sequence[tuple[Instant, float]] = (), now: Instant | None = None
) -> DurationDistribution:
    """Fits the learned distribution of jobs that begin at `now`, or at any hour if it is None. `running` are the
    running jobs: (start, age in seconds at the last poll).

    It mixes three parts: the observed durations, weighted by age and shared out by the product-limit estimate; the
    prior, which counts as one job and less the more jobs are observed; 1% of a wide distribution (σ 1.5).
    """
    hours = None if now is None else hours_like(_evidence(durations.completed), hour_of_day(now / 1_000))
    if hours is not None:
        running = [job for job in running if hour_of_day(job[0] / 1_000) in hours]
    completed = [job for job in durations.completed if hours is None or hour_of_day(job[0]) in hours]
    starts = [start for start, _ in completed]
    counted_from = _change_point_start(completed)
    ended = [(log, _weight(starts, start) if start >= counted_from else 0.0) for start, log in completed]
    censored = [(math.log(max(age, 0.1)), _weight(starts, at // 1_000)) for at, age in running]
    censored += [(math.log(MAX_DURATION), _weight(starts, start)) for start in durations.unfinished]
    ended = [(log, weight) for log, weight in ended if weight > 0]
    shares, outlasting = kaplan_meier(ended, censored)
    longest = max((log for log, _ in ended), default=-math.inf)
    outlasting_all = [(log, weight) for log, weight in censored if log >= longest]
    total = sum(weight for _, weight in ended) + sum(weight for _, weight in outlasting_all)
    prior = 1.0 / (1.0 + total / _PRIOR_FADES)
    logs = [log for log, _ in ended]
    kernels = list(zip(logs, kernel_bandwidths(logs, PRIOR_SIGMA / 2), shares, strict=True))
    tail = _prior_beyond(outlasting_all) if outlasting_all else [0.0] * len(AGES)
    observed_share = (1 - BROAD_PRIOR_WEIGHT) * total / (total + prior)
    prior_share = (1 - BROAD_PRIOR_WEIGHT) * prior / (total + prior)

    kernel_cdf, step_cdf = gaussian_mixture_cdf(_LOGS, kernels), steps(_LOGS, logs, shares)
    smoothed = [ended + outlasting * later for ended, later in zip(kernel_cdf, tail, strict=True)]
    unsmoothed = [ended + outlasting * later for ended, later in zip(step_cdf, tail, strict=True)]
    never = UNFINISHED_SHARE / (1.0 + total / _UNFINISHED_FADES)
    return from_cdf_table(
        [
            observed_share * ended + prior_share * before + BROAD_PRIOR_WEIGHT * wide
            for ended, before, wide in zip(smoothed, _PRIOR, _WIDE, strict=True)
        ],
        never,
        [
            (total * ended + prior * (1 - UNFINISHED_SHARE) * before) / (total + prior)
            for ended, before in zip(unsmoothed, _PRIOR, strict=True)
        ],
    )


def _prior_beyond(censored: Sequence[tuple[float, float]]) -> list[float]:
    """The probability of having ended by each age of the table according to the prior alone, for jobs that are known to
    last longer than the (ln age, weight) given."""
    in_order = sorted(censored)
    total = sum(weight for _, weight in in_order)
    cdf, passed_count, scale, offset = [], 0, 0.0, 0.0
    for log, base in zip(_LOGS, _BASE, strict=True):
        while passed_count < len(in_order) and in_order[passed_count][0] <= log:
            scale += in_order[passed_count][1] / (1 - base)
            offset += in_order[passed_count][1] * base / (1 - base)
            passed_count += 1
        cdf.append((base * scale - offset) / total)
    return cdf


def _change_point_start(completed: Sequence[tuple[int, float]]) -> int:
    """The start from which jobs count."""
    evidence = _evidence(completed)
    at = change_point([log for _, log in evidence], _CHANGED)
    return evidence[at][0] if at else 0


def _evidence(completed: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """The jobs that show whether durations changed, in order: none too young for the slow ones among them to have
    ended."""
    if len(completed) < 16:
        return []
    slow = math.exp(sorted(log for _, log in completed)[len(completed) * 19 // 20])
    until = max(start + math.exp(log) for start, log in completed) - slow
    return sorted((job for job in completed if job[0] <= until), key=_order)


def _order(job: tuple[int, float]) -> tuple[int, float]:
    """Orders by start; jobs that began together by a pseudo-random number, not by which ended first."""
    return job[0] // _SAME_START, math.modf(job[1] * 9_973.7)[0]


def _weight(starts: Sequence[int], start: float) -> float:
    return math.exp((bisect_right(starts, start + _SAME_START) - len(starts)) / _FADING)


def _newest(durations: DurationHistory) -> int:
    return max((start for start, _ in durations.completed), default=0)

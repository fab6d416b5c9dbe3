"""Finds the price of a poll: the seconds of delay that a poll has to save to be worth a request of the budget.

It is the smallest price on a grid at which the polls expected for all active watches, and for the jobs still to come,
fit the rest of the budget over every horizon from ten minutes to a day. It rises with the load and as the budget is
used up, so the evening's jobs do not pay for the morning's. Computing it again every half minute, with expectations in
place of what will come, loses little (Jasin and Kumar, 'A Re-Solving Heuristic with Bounded Revenue Loss', 2012). The
minute's window is not a horizon but a gate: polls that it holds back are made in the order of the delay they save.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace

from relay.model import Instant
from relay.model.arrival_history import ArrivalHistory
from relay.polling.request_budget import HORIZONS, Remaining
from relay.polling.schedule.arrival_forecast import expected_jobs, hourly_rates
from relay.polling.schedule.duration_distribution import DurationDistribution
from relay.polling.schedule.job_durations import EXPLORE_ONE_IN
from relay.polling.schedule.optimal_schedule import OptimalSchedule, optimal_schedule

PRICE_GRID = tuple(0.1 * 1.12**k for k in range(109))
"""The possible prices: 0.1 s to 6 h."""

_DEAREST = 4.0
"""The highest price, in parts of the age at which 90% of jobs have ended. A higher one hardly saves polls."""
_RESERVE = 0.01
"""The share of the day's polls that covers the rounding of what is expected."""
_NEAR_HORIZON = 5_000.0
"""Within so many seconds a price that rises in time can't make up for a wrong forecast."""
_SIGMAS = 2.0
"""Standard deviations of the jobs to come, as a Poisson count, for whose polls after the first these seconds have to
suffice. A job's last poll may wait; nothing is lost by that but time."""
_SLICES = 4
_MAX_AGES = 200

Forecast = tuple[tuple[float, float], ...]
"""(seconds from now, jobs expected around then), in order."""


def affordable_schedule(
    ages: Sequence[float],
    distribution: DurationDistribution,
    remaining: Remaining,
    arrivals: ArrivalHistory,
    now: Instant,
    share_already_ended: float = 0.9,
    start_from: float | None = None,
    ended: float = 0.0,
    new: int = 0,
) -> OptimalSchedule:
    """The schedule of the smallest price at which the polls expected fit `remaining.within`; if none fits, of four
    times the age at which 90% have ended: then polls that the budget refuses wait in the order of their gain.

    Jobs are polled at once when they are registered if that saves the price at which such polls fit too. If not, they
    are left out, and the price is the one at which the others fit.

    `ages` are those of the active watches that were polled (seconds; 0 or less if queued), `new` is the number of those
    that were not. `share_already_ended` is an upper bound of the share of jobs that have ended when they are
    registered, `ended` the expected share. Within an hour and a half the polls suffice for two standard deviations more
    jobs than expected. The search begins at `start_from`, the last price. Takes about 10 ms.
    """
    search = _Search(
        distribution, sample_ages(ages), ((0.0, new), *forecast(arrivals, now)), share_already_ended, ended
    )
    reserve = _RESERVE * remaining.within[-1][1]
    limits = [(ahead / 1_000, polls - reserve) for ahead, polls in remaining.within]
    limits = [limit for limit in limits if limit[0] >= time_for_polls(distribution)] or limits[-1:]
    begin = 0 if start_from is None else bisect_left(PRICE_GRID, start_from)
    with_first_polls = search.least(limits, True, begin)
    if with_first_polls.poll_immediately:
        return with_first_polls
    return replace(search.least(limits, False, begin), poll_immediately=False)


def time_for_polls(distribution: DurationDistribution) -> float:
    """The seconds within which most jobs get their polls, at any price that is likely.

    A horizon counts only jobs that come so long before its end. Otherwise a price would fit that does not save polls,
    but moves them past the end of the horizon.
    """
    return 2 * distribution.p90


class _Search:
    """The search on the grid. Each step needs a schedule, so no schedule is made twice, and few are made."""

    def __init__(
        self,
        distribution: DurationDistribution,
        groups: Sequence[tuple[float, float]],
        coming: Forecast,
        share_already_ended: float,
        ended: float,
    ) -> None:
        self._distribution, self._groups, self._coming, self._ready = distribution, groups, coming, share_already_ended
        self._ended = ended
        self._dearest = min(bisect_left(PRICE_GRID, _DEAREST * distribution.p90), len(PRICE_GRID) - 1)
        self._tables: dict[int, OptimalSchedule] = {}

    def demands(self, at: int, first_polls: bool, limits: Sequence[tuple[float, float]]) -> Iterator[float]:
        """Polls expected at a price of the grid, with or without one of each job at once, for each of the horizons."""
        table = replace(self._table(at), poll_immediately=first_polls)
        return (expected_polls(table, self._groups, self._coming, seconds, self._ended) for seconds, _ in limits)

    def least(self, limits: Sequence[tuple[float, float]], first_polls: bool, start_from: int) -> OptimalSchedule:
        """The schedule of the smallest price that fits, searched from `start_from` in growing steps; of the dearest if
        none fits."""
        low, high, step = 0, self._dearest, 2
        at = min(max(start_from, low), max(high - 1, low))
        while low < high:
            if self._fits(at, first_polls, limits):
                high, at = at, max(at - step, low)
            else:
                low, at = at + 1, min(at + 1 + step, high)
            step *= 2
            if not low < at < high:
                at = (low + high) // 2
        return self._table(low)

    def _table(self, at: int) -> OptimalSchedule:
        table = self._tables.get(at)
        if table is None:
            table = self._tables[at] = optimal_schedule(self._distribution, PRICE_GRID[at], self._ready)
        return table

    def _fits(self, at: int, first_polls: bool, limits: Sequence[tuple[float, float]]) -> bool:
        demands = self.demands(at, first_polls, limits)
        return all(demand <= polls for demand, (_, polls) in zip(demands, limits, strict=True))


def expected_polls(
    table: OptimalSchedule, groups: Sequence[tuple[float, float]], coming: Forecast, seconds: float, ended: float = 0.0
) -> float:
    """Polls expected within `seconds`, for the active watches (age, how many) and the jobs still to come, except for
    those that come too late to get their polls by then; the share `ended` of these needs only one poll."""
    active = sum(count * table.expected_polls_within(age, seconds) for age, count in groups)
    first = 1.0 if table.poll_immediately else max(ended, 1 / EXPLORE_ONE_IN)
    latest = max(seconds - time_for_polls(table.distribution), 0.0)

    def polls(within: float) -> float:
        return first + (1.0 - ended) * table.expected_polls_within(0.0, within)

    polls_of_coming = [(jobs, polls(seconds - at)) for at, jobs in coming if at <= latest]
    expected = active + sum(jobs * polls for jobs, polls in polls_of_coming)
    if seconds > _NEAR_HORIZON:
        return expected
    return expected + _SIGMAS * math.sqrt(sum(jobs * max(polls - 1, 0.0) ** 2 for jobs, polls in polls_of_coming))


def forecast(arrivals: ArrivalHistory, now: Instant) -> Forecast:
    """The jobs to come within the longest horizon, in finer slices for the near future."""
    hourly = hourly_rates(arrivals, now)
    slices, before, begin = [], 0.0, 0
    for ahead in HORIZONS:
        for k in range(1, _SLICES + 1):
            expected_by_end = expected_jobs(hourly, now, begin + (ahead - begin) * k // _SLICES)
            middle = begin + (ahead - begin) * (k - 0.5) / _SLICES
            slices.append((middle / 1_000, expected_by_end - before))
            before = expected_by_end
        begin = ahead
    return tuple(slices)


def sample_ages(ages: Sequence[float]) -> list[tuple[float, float]]:
    """(age, how many) for at most 200 ages that represent all of them; ages below 0 count as 0."""
    ordered = sorted(max(age, 0.0) for age in ages)
    size = max(len(ordered) / _MAX_AGES, 1.0)
    return [(ordered[int((k + 0.5) * size)], size) for k in range(int(len(ordered) / size))]

"""Loads on which polls are short, or which change what the relay knows: those of one table, and those kept back."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks.distributions import DISTRIBUTIONS, TrueDistribution
from benchmarks.virtual_days import Workload, poisson
from relay.polling.request_budget import RateLimit
from relay.polling.schedule.duration_distribution import lognormal_cdf

EXEC = RateLimit(60, 1_000, 0.8)
_HOUR, _DAY = 3_600.0, 86_400.0
TEN = 10 * _HOUR
USUAL, WIDE, GAMMA, QUICK = DISTRIBUTIONS[1], DISTRIBUTIONS[2], DISTRIBUTIONS[3], DISTRIBUTIONS[5]
SLOW, TWO_MINUTES, EIGHT_MINUTES = USUAL.slower(4.0), USUAL.slower(0.4), USUAL.slower(1.6)


@dataclass(frozen=True)
class Load:
    """A workload, and the budget that it meets."""

    workload: Workload
    days: int
    """Days on which jobs are registered; each is judged on its own, and those from the second on together."""
    allowance: RateLimit = EXEC
    left: int | None = None
    """Polls left at ten o'clock, as the relay spent the others in the hour before; None: all that the day allows."""
    warm: int = 0
    """Jobs of which the relay learned before."""

    @property
    def spent_at(self) -> list[float]:
        """The seconds at which the relay spent a request on something else."""
        if self.left is None:
            return []
        number = self.allowance.day - self.left
        return [TEN - _HOUR + (_HOUR - 1) * k / number for k in range(number)]


def steady(workload: Workload, days: int = 4, share: float = 0.8) -> Load:
    """Days that are all alike."""
    return Load(workload, days, replace(EXEC, share=share))


def flow(name: str, a_day: float, distribution: TrueDistribution, days: int = 4) -> Workload:
    """Jobs at any hour."""
    return Workload(name, poisson(a_day, days=days), lambda _: distribution, common_distribution=distribution)


def batch(name: str, warm: int, made_before: Callable[[float], float]) -> Load:
    """Two hundred jobs registered within two seconds at ten o'clock, when 300 polls are left."""
    workload = Workload(
        name,
        lambda _: [TEN + k * 0.01 for k in range(200)],
        lambda _: USUAL,
        late=made_before,
        common_distribution=USUAL,
    )
    return Load(workload, 1, left=300, warm=warm)


def _rarely_long() -> TrueDistribution:
    def draw(rng: random.Random) -> float:
        return rng.lognormvariate(math.log(10_800), 0.1) if rng.random() < 0.02 else USUAL.draw(rng)

    def ended(age: float) -> float:
        return 0.98 * USUAL.if_it_ends(age) + 0.02 * (lognormal_cdf(age, 10_800, 0.1) if age > 0 else 0.0)

    return TrueDistribution("2% take three hours", ended, draw)


def _over_20_minutes(second: float) -> float:
    """Made six seconds apart, the newest registered first."""
    return 600.0 * (second - TEN)


def _some_long_before(second: float) -> float:
    """One in fifteen was made an hour and a half before it was registered."""
    return 5_400.0 if int(second) % 15 == 7 else 0.0


def _some_wait(rng: random.Random) -> float:
    return 600.0 if rng.random() < 0.2 else rng.uniform(2, 8)


def _burst_a_day(rng: random.Random) -> list[float]:
    """Twenty jobs a day at any hour, and a hundred and fifty within five minutes, each day at another hour."""
    found = poisson(20, days=4)(rng)
    for day in range(4):
        begins = day * _DAY + rng.uniform(2, 20) * _HOUR
        found += [begins + rng.uniform(0, 300) for _ in range(150)]
    return found


def _by_turns(rng: random.Random) -> list[float]:
    """Sixty jobs on one day, two hundred on the next."""
    return [day * _DAY + second for day in range(4) for second in poisson(200 if day % 2 else 60)(rng)]


def _by_hour(second: float) -> TrueDistribution:
    return TWO_MINUTES if second % _DAY < _DAY / 2 else EIGHT_MINUTES


RARELY_LONG = _rarely_long()
LOADS = (
    steady(flow("700 jobs a day", 700, USUAL)),
    batch("200 made over 20 min, registered at once, 300 polls left, warm", 100, _over_20_minutes),
    batch("200 made over 20 min, registered at once, 300 polls left, cold", 0, _over_20_minutes),
    batch("200 new jobs within 2 s, 300 polls left, warm", 100, lambda _: 0.0),
    batch("200 new jobs within 2 s, 300 polls left, cold", 0, lambda _: 0.0),
    steady(replace(flow("150 jobs a day, one in fifteen ended an hour before", 150, USUAL), late=_some_long_before)),
    steady(flow("100 jobs a day, polls enough", 100, USUAL)),
    steady(Workload("150 jobs a day, 2 min in the morning, 8 after noon", poisson(150, days=4), _by_hour)),
    steady(replace(flow("150 jobs a day, Exec's clock 90 s ahead", 150, USUAL), ahead=90.0)),
    steady(flow("150 jobs a day, 2% take three hours", 150, RARELY_LONG)),
    steady(replace(flow("150 jobs a day, 20% wait ten minutes", 150, USUAL), queued=_some_wait)),
)
KEPT_BACK = (
    steady(flow("450 jobs a day, gamma", 450, GAMMA)),
    steady(flow("500 jobs a day of 20 min", 500, SLOW)),
    steady(Workload("600 jobs, 9 to 17", poisson(600, 9, 17, 4), lambda _: USUAL, common_distribution=USUAL)),
    steady(flow("200 jobs a day, σ 0.7", 200, WIDE)),
    steady(flow("100 jobs a day, a fifth of Exec's requests", 100, USUAL), share=0.2),
    steady(flow("300 jobs a day, 25% quick failures", 300, QUICK)),
    steady(flow("1,000 jobs a day", 1_000, USUAL, days=2), days=2),
    steady(Workload("quiet days with a burst of 150", _burst_a_day, lambda _: USUAL, common_distribution=USUAL)),
    steady(Workload("60 and 200 jobs by turns", _by_turns, lambda _: USUAL, common_distribution=USUAL)),
)

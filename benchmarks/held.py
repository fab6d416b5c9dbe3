"""The part of the polling benchmark about one job at a time: its tables, and what they are held to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.distributions import DISTRIBUTIONS
from benchmarks.optimum import Optimum
from benchmarks.ratios import (
    HISTORIES,
    KNOWN,
    POLLS,
    SEEDS,
    SEEN,
    History,
    Judged,
    Known,
    Learned,
    known,
    learned,
)
from benchmarks.tables import Check, Report, Table

KNOWN_DISTRIBUTION = 1.03
BETTER_THAN_FIXED = 1.7
SMOOTH, ROUGH = 1.10, 1.25
AFTER_100 = {
    DISTRIBUTIONS[0].name: ROUGH,
    DISTRIBUTIONS[1].name: SMOOTH,
    DISTRIBUTIONS[2].name: SMOOTH,
    DISTRIBUTIONS[3].name: SMOOTH,
    DISTRIBUTIONS[4].name: SMOOTH,
}
"""After 100 jobs; of all others `ROUGH`."""
STUCK = (
    "the optimum knows that no job ends between 25 minutes and a day, and never polls there; the relay polls once, "
    "because a job may outlast all others"
)


@dataclass(frozen=True)
class Found:
    """All that was measured."""

    polls: Sequence[int]
    known: Sequence[Known]
    learned: Sequence[Learned]


def measure(quick: bool = False) -> Found:
    """Every distribution and every history; `quick`: two distributions, two seeds, two numbers of polls."""
    seeds, polls = (SEEDS[:2], (3, 6)) if quick else (SEEDS, POLLS)
    histories: Sequence[History] = [HISTORIES[k] for k in (1, 5)] if quick else HISTORIES
    judged = {
        one.distribution.name: Judged(one.distribution, Optimum(one.distribution, (polls[0], polls[-1])))
        for one in histories
    }
    plain = [judged[distribution.name] for distribution in DISTRIBUTIONS if distribution.name in judged]
    return Found(
        polls,
        [row for one in plain for row in known(one, polls)],
        [row for one in histories for row in learned(one, judged[one.distribution.name], seeds, polls)],
    )


def report(found: Found) -> Report:
    """The tables and the checks."""
    return Report([_optima(found), _known(found), _others(found), _learned(found)], _checks(found))


def _optima(found: Found) -> Table:
    rows = [[one.distribution, *(_seconds(delay) for delay in one.optimum)] for one in found.known if one.who == KNOWN]
    return Table("The optimum's mean delay in seconds, by polls a job", ("distribution", *map(str, found.polls)), rows)


def _known(found: Found) -> Table:
    rows = [[one.distribution, *map(_ratio, one.ratios)] for one in found.known if one.who == KNOWN]
    title = "The relay's delay over the optimum's if it knows the distribution, by polls a job"
    return Table(title, ("distribution", *map(str, found.polls)), rows)


def _others(found: Found) -> Table:
    names = list(dict.fromkeys(one.who for one in found.known))
    distributions = list(dict.fromkeys(one.distribution for one in found.known))
    cells = {(one.distribution, one.who): _range(one.ratios) for one in found.known}
    rows = [[distribution, *(cells[distribution, who] for who in names)] for distribution in distributions]
    polls = f"at {found.polls[0]} and at {found.polls[-1]} polls a job"
    return Table(f"Delay over the optimum's {polls}, if all know the distribution", ("distribution", *names), rows)


def _learned(found: Found) -> Table:
    rows = []
    for name in dict.fromkeys(one.name for one in found.learned):
        after = [one for one in found.learned if one.name == name]
        rows.append(
            [
                name,
                *(f"{one.mean:.2f} ± {one.spread:.2f}, {one.worst:.2f}" for one in after),
                f"{after[-1].against_fixed:.2f}",
            ]
        )
    head = ("jobs", *(f"after {n}" for n in SEEN), f"over fixed, after {SEEN[-1]}")
    title = (
        "The relay's delay over the optimum's if it learns the distribution, over "
        f"{found.polls[0]} to {found.polls[-1]} polls a job: mean ± standard deviation between seeds, worst seed"
    )
    return Table(title, head, rows)


def _checks(found: Found) -> list[Check]:
    checks = []
    for one in found.known:
        if one.who == KNOWN:
            worst = max(ratio for ratio in one.ratios if ratio is not None)
            why = STUCK if "stuck" in one.distribution else ""
            checks.append(_check(f"distribution known: {one.distribution}", worst, KNOWN_DISTRIBUTION, why))
    return [*checks, *_learned_checks(found.learned)]


def _learned_checks(rows: Sequence[Learned]) -> Iterator[Check]:
    for row in rows:
        if row.seen == SEEN[-1]:
            yield _check(f"after {row.seen} jobs: {row.name}", row.mean, AFTER_100.get(row.name, ROUGH))
        if row.seen == 30 and "shift" in row.name:
            yield _check(f"after {row.seen} jobs: {row.name}", row.mean, ROUGH)
    for row in rows:
        if row.seen >= 30:
            yield _check(f"over fixed, after {row.seen}: {row.name}", row.against_fixed, 1.0)
    for row in rows:
        if row.name == DISTRIBUTIONS[1].name and row.seen == SEEN[-1]:
            yield _check(f"1.7 times better than fixed: {row.name}", row.against_fixed, 1 / BETTER_THAN_FIXED)


def _check(what: str, measured: float, limit: float, why: str = "") -> Check:
    return Check(what, f"{limit:.3f}", f"{measured:.3f}", measured <= limit, why)


def _range(ratios: Sequence[float | None]) -> str:
    return f"{_ratio(ratios[0])}, {_ratio(ratios[-1])}"


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.3f}" if ratio < 1.1 else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def _seconds(delay: float) -> str:
    return f"{delay:.1f}"


def curves(found: Found) -> dict[str, list[tuple[float, float]]]:
    """(polls, mean delay in seconds) of everyone, for the second distribution: what the plot shows."""
    rows = [one for one in found.known if one.distribution == DISTRIBUTIONS[1].name]
    best = rows[0].optimum
    lines: dict[str, list[tuple[float, float]]] = {
        one.who: [
            (n, ratio * delay)
            for n, ratio, delay in zip(found.polls, one.ratios, best, strict=True)
            if ratio is not None
        ]
        for one in rows
        if one.who != KNOWN
    }
    for row in found.learned:
        if row.name == DISTRIBUTIONS[1].name and row.seen == SEEN[-1]:
            lines["the relay, after 100 jobs"] = [
                (n, ratio * delay) for n, ratio, delay in zip(found.polls, row.ratios, best, strict=True)
            ]
    return lines | {"the optimum": list(zip(map(float, found.polls), best, strict=True))}

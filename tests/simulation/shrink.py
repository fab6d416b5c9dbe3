"""Shrinks a failing plan: the fewest acts and jobs with which the same thing still goes wrong."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.plan import Plan


@dataclass(frozen=True, slots=True)
class Shrunk:
    """What is left of a plan: the numbers of its acts, and how many jobs."""

    acts: tuple[int, ...]
    jobs: int


def shrink(plan: Plan, fails: Callable[[Plan], bool]) -> Shrunk:
    """Leaves out halves of the acts, then quarters, and so on, then jobs, as long as `fails` says so."""
    kept = tuple(range(len(plan.acts)))
    part = max(1, len(kept) // 2)
    while kept:
        smaller = _without_a_part(plan, kept, part, fails)
        if smaller is not None:
            kept = smaller
        elif part == 1:
            break
        else:
            part = max(1, part // 2)
    jobs = plan.jobs
    while jobs > 1 and fails(plan.only(kept).with_jobs(jobs - 1)):
        jobs -= 1
    return Shrunk(kept, jobs)


def _without_a_part(
    plan: Plan, kept: tuple[int, ...], part: int, fails: Callable[[Plan], bool]
) -> tuple[int, ...] | None:
    for start in range(0, len(kept), part):
        fewer = kept[:start] + kept[start + part :]
        if fails(plan.only(fewer)):
            return fewer
    return None

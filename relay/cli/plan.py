"""`relay plan`: the learned distribution of job durations, and the polls of a job registered now."""

from pathlib import Path

import click

from relay.cli.options import config_option, read_config
from relay.cli.output import print_json, print_text
from relay.config import Config, Workspace
from relay.errors import ConfigError
from relay.polling import rate_limit_of, workload_of
from relay.polling.schedule.policy import PollPolicy, build_policy
from relay.polling.schedule.preview import SchedulePreview, fixed_interval_ages, histogram, preview
from relay.process import system_clock
from relay.store import read_only

COLUMNS = 64
_HEIGHTS = " ▁▂▃▄▅▆▇█"


@click.command("plan")
@config_option
@click.option("--workspace", "name", help="The Exec workspace, if there are several.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(path: Path | None, name: str | None, as_json: bool) -> None:
    """Show how long jobs take, as learned, and when the relay would poll a job registered now.

    For comparison, it shows the fixed interval with as many polls, and the mean delay of both. Reads the store, also
    while the relay runs; does not call Exec.

    \b
    Examples:
      relay plan --config config.yaml
      relay plan --workspace sales --json
    """
    config = read_config(path)
    space, now = _workspace(config, name), system_clock()
    load = read_only(config.storage.url, lambda tx: workload_of(tx, space.name, rate_limit_of(space), now))
    policy, jobs_learned_from = build_policy(load, now), len(load.durations.completed)
    schedule = preview(policy.table)
    if as_json:
        print_json(_values(space, policy, jobs_learned_from, schedule), indent=None)
    else:
        print_text("\n".join(_render(space, policy, jobs_learned_from, schedule)))


def _workspace(config: Config, name: str | None) -> Workspace:
    spaces = {space.name: space for space in config.workspaces}
    if name is None and len(spaces) == 1:
        return config.workspaces[0]
    if name not in spaces:
        raise ConfigError(f"--workspace: there is {', '.join(sorted(spaces))}; name one of them")
    return spaces[name]


def _values(
    space: Workspace, policy: PollPolicy, jobs_learned_from: int, schedule: SchedulePreview
) -> dict[str, object]:
    return {
        "workspace": space.name,
        "jobs_learned_of": jobs_learned_from,
        "median_seconds": round(policy.distribution.median, 1),
        "p90_seconds": round(policy.distribution.p90, 1),
        "price_seconds": round(policy.price, 2),
        "first_poll_at_once": policy.table.poll_immediately,
        "poll_ages_seconds": [round(age, 1) for age in schedule.ages],
        "polls_a_job": round(schedule.polls, 2),
        "mean_delay_seconds": round(schedule.delay, 1),
        "fixed_interval_seconds": round(schedule.interval, 1),
        "fixed_mean_delay_seconds": round(schedule.fixed_delay, 1),
    }


def _render(space: Workspace, policy: PollPolicy, jobs_learned_from: int, schedule: SchedulePreview) -> list[str]:
    end = max(schedule.ages[-1] if schedule.ages else 0.0, policy.distribution.p90) * 1.02
    shares = histogram(policy.distribution, COLUMNS, end)
    highest = max(shares)
    bars = "".join(_HEIGHTS[round(8 * share / highest)] if highest else " " for share in shares)
    source = (
        f"learned from {jobs_learned_from} jobs"
        if jobs_learned_from
        else "nothing learned yet: the durations that Exec documents"
    )
    fixed_ages = [age for age in fixed_interval_ages(schedule.interval) if age <= end]
    return [
        f"Workspace {space.name}: half of the jobs take less than {policy.distribution.median:.0f} s, nine of ten "
        f"less than {policy.distribution.p90:.0f} s ({source})",
        "",
        f"jobs end   {bars}",
        f"the relay  {_marks(schedule.ages, end)}",
        f"fixed      {_marks(fixed_ages, end)}",
        f"           0{f'{end:.0f} s'.rjust(COLUMNS - 1)}",
        "",
        f"the relay polls a job {schedule.polls:.1f} times, and notices its end {schedule.delay:.1f} s late (mean)",
        f"polling every {schedule.interval:.0f} s costs as many polls, and is {schedule.fixed_delay:.1f} s late",
        f"a poll has to save {policy.price:.1f} s of delay to be worth its price now"
        + (
            ""
            if policy.table.poll_immediately
            else "; that a job has ended when it is registered is too rare for a first poll at once"
        ),
    ]


def _marks(ages: tuple[float, ...] | list[float], end: float) -> str:
    marks = [" "] * COLUMNS
    for age in ages:
        marks[min(int(COLUMNS * age / end), COLUMNS - 1)] = "▲"
    return "".join(marks)

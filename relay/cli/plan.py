"""`relay plan`: the learned law, and the looks that a job registered now would get."""

import json
from pathlib import Path

import click

from relay.cli.configuring import config_option, read_config
from relay.config import Config, Workspace
from relay.errors import ConfigError
from relay.outlook import Outlook, density, fixed, outlook
from relay.pace import Pace, make_pace
from relay.store.clock import system_clock
from relay.store.database import peek
from relay.watcher import allowance_of, load_of

COLUMNS = 64
_HEIGHTS = " ▁▂▃▄▅▆▇█"


@click.command("plan")
@config_option
@click.option("--workspace", "name", help="Which Exec workspace; not needed where there is one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(path: Path | None, name: str | None, as_json: bool) -> None:
    """Draw how long jobs take, as learned, and when a job registered now would be looked at.

    Beside it the fixed interval that costs as many looks, and how late both would hear of the end. Reads the store,
    also while the relay runs; Exec is not asked.

    \b
    Examples:
      relay plan --config config.yaml
      relay plan --workspace sales --json
    """
    config = read_config(path)
    space, now = _workspace(config, name), system_clock()
    load = peek(config.storage.url, lambda tx: load_of(tx, space.name, allowance_of(space), now))
    pace, seen = make_pace(load, now), len(load.durations.seen)
    found = outlook(pace.table)
    if as_json:
        click.echo(json.dumps(_values(space, pace, seen, found)))
    else:
        click.echo("\n".join(_drawn(space, pace, seen, found)))


def _workspace(config: Config, name: str | None) -> Workspace:
    known = {space.name: space for space in config.workspaces}
    if name is None and len(known) == 1:
        return config.workspaces[0]
    if name not in known:
        raise ConfigError(f"--workspace: there is {', '.join(sorted(known))}; name one of them")
    return known[name]


def _values(space: Workspace, pace: Pace, seen: int, found: Outlook) -> dict[str, object]:
    return {
        "workspace": space.name,
        "jobs_learned_of": seen,
        "median_seconds": round(pace.law.median, 1),
        "p90_seconds": round(pace.law.p90, 1),
        "price_seconds": round(pace.price, 2),
        "first_look_at_once": pace.table.at_once,
        "look_ages_seconds": [round(age, 1) for age in found.ages],
        "looks_a_job": round(found.looks, 2),
        "mean_delay_seconds": round(found.delay, 1),
        "fixed_interval_seconds": round(found.interval, 1),
        "fixed_mean_delay_seconds": round(found.fixed_delay, 1),
    }


def _drawn(space: Workspace, pace: Pace, seen: int, found: Outlook) -> list[str]:
    end = max(found.ages[-1] if found.ages else 0.0, pace.law.p90) * 1.02
    shares = density(pace.law, COLUMNS, end)
    highest = max(shares)
    bars = "".join(_HEIGHTS[round(8 * share / highest)] if highest else " " for share in shares)
    learned = f"learned of {seen} jobs" if seen else "nothing learned yet, so as Exec's pages say"
    same = [age for age in fixed(found.interval) if age <= end]
    return [
        f"Workspace {space.name}: half of the jobs take less than {pace.law.median:.0f} s, nine of ten less than "
        f"{pace.law.p90:.0f} s ({learned})",
        "",
        f"jobs end   {bars}",
        f"the relay  {_marks(found.ages, end)}",
        f"fixed      {_marks(same, end)}",
        f"           0{f'{end:.0f} s'.rjust(COLUMNS - 1)}",
        "",
        f"the relay looks {found.looks:.1f} times a job and hears of the end {found.delay:.1f} s late, in the mean",
        f"every {found.interval:.0f} s would be as many looks, and {found.fixed_delay:.1f} s late",
        f"a look has to save {pace.price:.1f} s of delay to be worth its price now"
        + ("" if pace.table.at_once else "; looks are few, so the first one waits"),
    ]


def _marks(ages: tuple[float, ...] | list[float], end: float) -> str:
    marks = [" "] * COLUMNS
    for age in ages:
        marks[min(int(COLUMNS * age / end), COLUMNS - 1)] = "▲"
    return "".join(marks)

"""`relay plan`: what was learned, the polls that follow, and a fixed interval beside them."""

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from relay.cli import main
from relay.model import MINUTE
from relay.model.duration_history import DurationHistory
from relay.polling.schedule.duration_distribution import lognormal_cdf, tabulate
from relay.polling.schedule.job_durations import observe
from relay.polling.schedule.optimal_schedule import optimal_schedule
from relay.polling.schedule.preview import fixed_interval_ages, histogram, polls_and_delay, preview
from relay.store.engine.database import Store
from relay.store.tables import workspaces
from tests.make import NOON

LAW = tabulate(lambda age: lognormal_cdf(age, 300, 0.35))


def plan(url: str, *arguments: str) -> Result:
    environment = {"RELAY_EXEC__API_KEY": "exec_live_" + "0" * 40, "RELAY_STORAGE__URL": url}
    return CliRunner(env=environment).invoke(main, ["plan", *arguments])


async def learn(url: str) -> None:
    """A hundred jobs of about two minutes."""
    rng, known = random.Random(1), DurationHistory()
    for number in range(100):
        known = observe(known, rng.lognormvariate(math.log(120), 0.2), NOON + number * MINUTE)
    store = await Store.open(url)
    state = await store.write(lambda tx: workspaces.lock(tx, "default"))
    await store.write(lambda tx: workspaces.save(tx, replace(state, durations=known)))
    await store.aclose()


async def test_plan_shows_the_learned_distribution(sqlite_url: str) -> None:
    """Median, polls and both delays, as a picture and as JSON; the relay is sooner than the fixed interval."""
    await learn(sqlite_url)
    drawn = plan(sqlite_url)
    assert drawn.exit_code == 0, drawn.output
    assert "learned from 100 jobs" in drawn.output
    assert "█" in drawn.output
    assert drawn.output.count("▲") > 4
    found = json.loads(plan(sqlite_url, "--json").output)
    assert found["median_seconds"] == pytest.approx(120, rel=0.1)
    assert found["mean_delay_seconds"] < found["fixed_mean_delay_seconds"]
    assert found["poll_ages_seconds"] == sorted(found["poll_ages_seconds"])


async def test_plan_says_that_nothing_is_learned_yet(sqlite_url: str) -> None:
    """A new store has Exec's five minutes."""
    await (await Store.open(sqlite_url)).aclose()
    assert "nothing learned yet" in plan(sqlite_url).output


def test_plan_names_a_missing_store_or_workspace(tmp_path: Path, sqlite_url: str) -> None:
    """No store, or another workspace."""
    assert "there is no store at" in plan(f"sqlite:///{tmp_path}/none.db").output
    assert plan(sqlite_url, "--workspace", "other").exit_code == 2


def test_fixed_interval_costs_as_many_polls() -> None:
    """Within a few percent, and what was judged is what the timetable itself reckons with."""
    table = optimal_schedule(LAW, 5.0)
    found = preview(table)
    assert polls_and_delay(LAW, fixed_interval_ages(found.interval))[0] == pytest.approx(found.polls, rel=0.05)
    assert found.polls == pytest.approx(table.expected_polls_within(0.0, 86_400.0), rel=0.02)
    assert found.delay < 0.7 * found.fixed_delay


def test_polls_and_delay_by_hand() -> None:
    """One poll after all have ended: one poll a job, late by its age less the mean duration."""
    polls, delay = polls_and_delay(LAW, [3_600.0])
    assert polls == 1
    assert delay == pytest.approx(3_600 - 300 * math.exp(0.35**2 / 2), rel=0.01)
    assert sum(histogram(LAW, 50, 3_600.0)) == pytest.approx(1, abs=0.01)

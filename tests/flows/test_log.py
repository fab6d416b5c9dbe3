"""The log: one line at each change of state, in an operator's words, and none by the thousand."""

import logging

import pytest

from relay.model import DAY, HOUR, MINUTE, SECOND
from relay.sandbox.exec_server import ExecSettings
from relay.sandbox.fault_injection import Fault, FaultConfig, FaultRule
from relay.sandbox.rate_limits import Limits
from relay.sandbox.receiver import Respond
from relay.store.tables import endpoints
from tests.flows.conftest import Start, World
from tests.make import make_endpoint


def inject(world: World, *kinds: str) -> None:
    """Every poll fails in this way; without a kind none does."""
    world.exec.faults.order(FaultConfig(faults=tuple(FaultRule(kind=kind) for kind in kinds)), world.clock())


def lines(caplog: pytest.LogCaptureFixture, containing: str) -> list[tuple[str, str]]:
    """Level and message of the relay's lines that contain the text."""
    return [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.name == "relay" and containing in record.getMessage()
    ]


@pytest.mark.one_on_postgresql
@pytest.mark.parametrize(
    ("kind", "problem", "recovery"),
    [
        ("401", "refuses the API key", "accepts the API key again"),
        ("500", "answers with errors", "answers without errors again"),
        ("closed", "is unreachable", "is reachable again"),
        ("not_json", "are not Exec's", "Exec itself answers again"),
        ("429", "answers 429", "answers polls again"),
    ],
)
async def test_trouble_at_exec_is_one_line_and_its_end_another(
    start: Start, caplog: pytest.LogCaptureFixture, kind: str, problem: str, recovery: str
) -> None:
    """Four jobs and hours of trouble: one warning. Exec works again: one line at level info."""
    caplog.set_level(logging.INFO, "relay")
    async with start(polling={"interval": "5m"}) as world:
        world.patience = MINUTE
        inject(world, kind)
        for _ in range(4):
            await world.register(world.exec.add(lasts=1_000).id)
        await world.advance(3 * HOUR)
        [(level, line)] = lines(caplog, problem)
        assert level == "WARNING"
        assert line.startswith("workspace default: ")
        assert lines(caplog, recovery) == []
        inject(world)
        await world.advance(15 * MINUTE)
        assert [level for level, _ in lines(caplog, recovery)] == ["INFO"]
        assert len(lines(caplog, problem)) == 1


async def test_a_key_accepted_after_a_restart_is_logged(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """Exec refused the key before the restart and accepts it after it: the new run logs that."""
    caplog.set_level(logging.INFO, "relay")
    async with start() as world:
        inject(world, "401")
        await world.register(world.exec.add(lasts=1_000).id)
        inject(world)
        await world.restart()
        await world.relay.start()
        await world.settle()
        assert len(lines(caplog, "accepts the API key again")) == 1


async def test_an_unknown_status_is_logged_once(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """Five jobs, an hour of polls: one line."""
    async with start(polling={"interval": "2m"}) as world:
        inject(world, "unknown_status")
        jobs = [world.exec.add(lasts=1_000) for _ in range(5)]
        for job in jobs:
            await world.register(job.id)
        await world.advance(HOUR)
        [(level, line)] = lines(caplog, "which the relay does not know")
        assert level == "WARNING"
        assert any(job.id in line for job in jobs)


async def test_a_budget_used_up_is_logged_and_its_return(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """When the day's requests are used up, one warning says until when; the next day has one line."""
    caplog.set_level(logging.INFO, "relay")
    settings = ExecSettings(seed=2, limits=Limits(per_minute=1_000, per_day=100_000))
    async with start(
        sandbox=settings,
        exec={"budget": {"per_minute": 30, "per_day": 40}},
        polling={"interval": "60s"},
    ) as world:
        world.patience = HOUR
        for _ in range(10):
            await world.register(world.exec.add(lasts=10 * HOUR).id)
        await world.advance(HOUR)
        [(level, line)] = lines(caplog, "budget is used up")
        assert level == "WARNING"
        assert "the next poll is possible at" in line
        await world.advance(DAY)
        assert lines(caplog, "budget allows polls again")
        assert len(lines(caplog, "budget")) <= 8


async def test_an_endpoint_that_fails_and_recovers_is_two_lines(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """The line names the endpoint and the error."""
    caplog.set_level(logging.INFO, "relay")
    async with start() as world:
        world.receiver.script(Respond(status=500), Respond(status=500))
        job = world.exec.add(lasts=1_000)
        world.clock.advance(5 * SECOND)
        made = await world.register(job.id)
        assert made.endpoint is not None
        [(level, line)] = lines(caplog, f"endpoint {made.endpoint.id} fails")
        assert level == "WARNING"
        assert "500" in line
        await world.advance(HOUR)
        assert [one for one in lines(caplog, f"endpoint {made.endpoint.id}") if one[1].startswith("endpoint ")][1:] == [
            ("INFO", f"endpoint {made.endpoint.id} works again")
        ]


async def test_an_endpoint_disabled_and_enabled_is_two_lines(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """410 disables it, a person enables it; disabled and enabled by hand is logged in the same words."""
    caplog.set_level(logging.INFO, "relay")
    async with start() as world:
        world.receiver.script(Respond(status=410))
        job = world.exec.add(lasts=1_000)
        world.clock.advance(5 * SECOND)
        made = await world.register(job.id)
        assert made.endpoint is not None
        id = made.endpoint.id
        await world.relay.enable_endpoint(id, world.clock())
        await world.relay.disable_endpoint(id, world.clock())
        texts = [line for _, line in lines(caplog, f"endpoint {id}") if line.startswith("endpoint ")]
        assert len(texts) == 3
        assert texts[0].startswith(f"endpoint {id} is disabled: the receiver unsubscribed (410 Gone)")
        assert texts[1].startswith(f"endpoint {id} is enabled again")
        assert texts[2].startswith(f"endpoint {id} is disabled: disabled by hand")


async def test_quiet_hours_of_an_unknown_zone_are_named_at_the_start(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """A zone of another version, or of a machine with other zone data: it holds nothing, and the log says so."""
    caplog.set_level(logging.INFO, "relay")
    async with start() as world:
        night = make_endpoint(id="ep_1", name="night", format="slack", quiet="22:00-07:00 Mars/Base")
        await world.relay.store.write(lambda tx: endpoints.add(tx, night))
        await world.restart()
        await world.relay.start()
        [(level, line)] = lines(caplog, "quiet hours")
        assert level == "WARNING"
        assert line.startswith("endpoint night: its quiet hours hold nothing, because quiet names no time zone: Mars")


async def test_one_failed_poll_is_not_logged(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A single failure is no change of state."""
    async with start() as world:
        job = world.exec.add(lasts=1_000)
        world.clock.advance(5 * SECOND)
        world.exec.faults.order(FaultConfig(jobs={job.id: (Fault(kind="500"),)}), world.clock())
        await world.register(job.id)
        await world.advance(HOUR)
        assert lines(caplog, "workspace default: Exec") == []

"""What operators see: readiness with its reasons, metrics, test events, and a restart."""

import asyncio
import json
import logging

import pytest

from relay import __version__
from relay.model import MINUTE, SECOND, DeliveryStatus
from relay.model.poll_result import OUTCOMES
from relay.operations.readiness import MAX_BACKLOG_AGE, Check
from relay.sandbox.receiver import HANG, Respond
from relay.store.tables import endpoints
from tests.flows.conftest import Start
from tests.make import SECRET, make_endpoint


def failing(checks: tuple[Check, ...]) -> list[str]:
    return [check.name for check in checks if not check.ok]


async def test_a_relay_that_works_is_ready(start: Start) -> None:
    """All checks are fine after a tick."""
    async with start() as world:
        await world.settle()
        readiness = await world.relay.readiness()
        assert readiness.ready
        of_several = [] if world.relay.store.is_exclusive else ["notifications"]
        assert [check.name for check in readiness.checks] == [
            "scheduler",
            "store",
            "delivery_backlog",
            "plans",
            *of_several,
            "sending",
            "exec:default",
        ]


async def test_a_scheduler_without_ticks_is_not_ready(start: Start) -> None:
    """Without a tick for a while the relay is not ready, and says since when."""
    async with start() as world:
        await world.settle()
        world.clock.advance(MINUTE)
        readiness = await world.relay.readiness()
        assert failing(readiness.checks) == ["scheduler"]
        assert "60 s ago" in readiness.checks[0].text


async def test_overdue_deliveries_are_not_ready(start: Start) -> None:
    """A delivery due for minutes: the relay does not keep up."""
    async with start() as world:
        job = world.exec.add(lasts=1_000)
        world.clock.advance(5 * SECOND)
        await world.prepare(job.id, f"{world.receiver_url}/x")
        await world.settle()
        await world.prepare(job.id, f"{world.receiver_url}/y")
        world.clock.advance(MAX_BACKLOG_AGE)
        assert "delivery_backlog" in failing((await world.relay.readiness()).checks)


async def test_a_failing_store_is_not_ready(start: Start) -> None:
    """Readiness and metrics give the store's own reason, and the metrics are still served."""
    async with start() as world:
        assert 'relay_ready{check="store"} 1.0' in (await world.relay.render_metrics()).decode()
        await world.relay.store.aclose()
        assert failing((await world.relay.readiness()).checks)[-1] == "store"
        text = (await world.relay.render_metrics()).decode()
        assert 'relay_ready{check="store"} 0.0' in text
        assert "relay_tick_age_seconds" in text


async def test_counters_of_alerts_start_at_zero(start: Start) -> None:
    """For Prometheus a counter that first appears as 1 has not increased: the first refused key would raise
    no alert."""
    async with start() as world:
        text = (await world.relay.render_metrics()).decode()
        for outcome in OUTCOMES:
            assert f'relay_polls_total{{outcome="{outcome}",workspace="default"}} 0.0' in text
        assert "relay_endpoints_disabled_total 0.0" in text
        assert f'relay_build_info{{version="{__version__}"}} 1.0' in text


async def test_a_disabled_endpoint_is_counted(start: Start) -> None:
    """410 disables an endpoint: the log and a counter say so."""
    async with start() as world:
        world.receiver.script(Respond(status=410))
        job = world.exec.add(lasts=1_000)
        world.clock.advance(5 * SECOND)
        await world.register(job.id)
        assert "relay_endpoints_disabled_total 1.0" in (await world.relay.render_metrics()).decode()


async def test_metrics_count_polls_events_and_attempts(start: Start) -> None:
    """Polls, events, attempts and the remaining budget, in Prometheus' text format."""
    async with start() as world:
        world.receiver.script(Respond(status=500))
        job = world.exec.add(lasts=1_000)
        world.clock.advance(5 * SECOND)
        await world.register(job.id)
        await world.advance(MINUTE)
        text = (await world.relay.render_metrics()).decode()
        assert 'relay_polls_total{outcome="ended",workspace="default"} 1.0' in text
        assert 'relay_events_total{type="job.completed"} 1.0' in text
        assert 'relay_delivery_attempts_total{format="standard",outcome="status"} 1.0' in text
        assert 'relay_delivery_attempts_total{format="standard",outcome="delivered"} 1.0' in text
        assert 'relay_poll_budget_remaining{window="day",workspace="default"} 799.0' in text
        assert "relay_pending_deliveries 0.0" in text
        assert "relay_detection_delay_seconds_count 1.0" in text


async def test_a_test_event_is_signed_and_leaves_no_trace(start: Start) -> None:
    """The response is the attempt with the receiver's answer; no delivery is stored."""
    async with start() as world:
        url = f"{world.receiver_url}/test"
        endpoint = make_endpoint(url=url, host=url.split("/")[2])
        world.receiver.script(Respond(status=418, body=b"short and stout"))
        attempt = await world.relay.send_test(endpoint, world.clock())
        assert (attempt.status_code, attempt.response, attempt.trigger) == (418, "short and stout", "test")
        [one] = world.received("/test")
        assert one.verified, one.error
        assert (one.webhook_id or "").startswith("evt_test_")
        assert await world.deliveries() == []


async def test_a_standing_endpoint_is_notified_of_every_job(start: Start) -> None:
    """With its own format, and without a registration of its own."""
    async with start() as world:
        url = f"{world.receiver_url}/standing"
        endpoint = make_endpoint(name="ops", url=url, host=url.split("/")[2], format="zapier")
        await world.relay.store.write(lambda tx: endpoints.add(tx, endpoint))
        job = world.exec.add(lasts=1_000)
        await world.register(job.id)
        await world.advance(MINUTE)
        assert len(world.received("/callback")) == 1
        [one] = world.received("/standing")
        assert one.verified, one.error
        assert json.loads(one.body)["job_id"] == job.id


async def test_an_attempt_interrupted_by_a_stop_is_made_by_the_next_run(start: Start) -> None:
    """The stop releases the lease, so the next run does not wait until it expires."""
    async with start(delivery={"timeout": "1s"}) as world:
        job = world.exec.add(lasts=1_000)
        world.clock.advance(5 * SECOND)
        world.receiver.script(HANG)
        await world.prepare(job.id, f"{world.receiver_url}/x")
        await world.relay.poller.tick()
        await world.relay.poller.idle()
        await world.relay.dispatcher.tick()
        await world.receiver.wait_for(1)
        await world.restart()
        await world.advance(MINUTE)
        [delivery] = await world.deliveries()
        assert delivery.status is DeliveryStatus.DELIVERED
        assert len({one.webhook_id for one in world.received()}) == 1


async def test_the_scheduler_runs_everything(start: Start) -> None:
    """The relay starts as in `relay serve`, and only APScheduler calls tick."""
    async with start(polling={"tick": "50ms"}) as world:
        await world.relay.start()
        job = world.exec.add(lasts=1_000)
        await world.prepare(job.id, f"{world.receiver_url}/x")
        async with asyncio.timeout(30):
            while not (await world.watch(job.id)).polls:
                await asyncio.sleep(0.01)
        world.clock.advance(MINUTE)
        [one] = await world.receiver.wait_for(1)
        assert one.event_type == "job.completed"


async def test_no_secret_is_logged(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """Keys, signing secrets and the paths of callback URLs stay out of the log, whatever goes wrong."""
    caplog.set_level(logging.DEBUG)
    async with start(delivery={"timeout": "1s"}) as world:
        world.receiver.script(Respond(status=500), HANG, Respond(status=410))
        job = world.exec.add(lasts=1_000)
        await world.register(job.id, path="/services/T000/B000/hunter2")
        await world.advance(10 * MINUTE)
        shown = caplog.text + (await world.relay.render_metrics()).decode() + repr(await world.deliveries())
        assert "job.completed" in caplog.text
        for secret in (SECRET, "hunter2", world.relay.config.workspaces[0].api_key.get_secret_value()):
            assert secret not in shown

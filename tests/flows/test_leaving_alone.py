"""Receivers that do not want requests for a while or for good: their events are held."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from relay.model import DAY, MINUTE, SECOND, DeliveryStatus, to_rfc3339
from relay.sandbox.receiver import GONE, Respond, retry_later
from tests.flows.conftest import Start, World, api_of

IN_WORDS = "Slack says this webhook was removed or switched off (no_service): make a new incoming webhook"


async def end_one(world: World, **fields: Any) -> str:
    """Registers a job that has ended. Returns the id of its endpoint."""
    job = world.exec.add(lasts=1_000)
    world.clock.advance(5 * SECOND)
    made = await world.register(job.id, **fields)
    assert made.endpoint is not None
    return made.endpoint.id


async def statuses(world: World) -> list[DeliveryStatus]:
    return [delivery.status for delivery in await world.deliveries()]


async def ask(world: World, call: str, path: str, **fields: Any) -> Any:
    async with api_of(world) as http:
        answer = await http.request(call, path, json=fields or None)
        assert answer.status_code in (200, 202), answer.text
        return answer.json()


async def test_events_held_for_a_disabled_endpoint_are_sent_when_it_is_enabled(start: Start) -> None:
    """After a 410 the relay holds events. When the endpoint is enabled it gets them, and a resend brings the refused
    one."""
    async with start() as world:
        world.receiver.script(GONE)
        endpoint = await end_one(world)
        for _ in range(2):
            assert await end_one(world) == endpoint
        await world.advance(10 * MINUTE)
        assert len(world.received()) == 1
        shown = await ask(world, "GET", f"/v1/endpoints/{endpoint}")
        assert (shown["enabled"], shown["disabled_reason"]) == (False, "the receiver unsubscribed (410 Gone)")
        pending = await ask(world, "GET", "/v1/deliveries?status=pending")
        assert [one["held"] for one in pending["data"]] == [True, True]

        assert (await ask(world, "POST", f"/v1/endpoints/{endpoint}/enable"))["released"] == 2
        await world.settle()
        assert await statuses(world) == [DeliveryStatus.FAILED, DeliveryStatus.DELIVERED, DeliveryStatus.DELIVERED]
        counted = await ask(world, "POST", "/v1/deliveries/resend", status="failed", dry_run=True)
        assert (counted["count"], len(world.received())) == (1, 3)
        assert (await ask(world, "POST", "/v1/deliveries/resend", status="failed"))["count"] == 1
        await world.settle()
        assert await statuses(world) == [DeliveryStatus.DELIVERED] * 3
        refused, *_, sent_again = world.received()
        assert (sent_again.webhook_id, sent_again.body) == (refused.webhook_id, refused.body)


async def test_an_endpoint_disabled_by_hand_misses_no_event(start: Start) -> None:
    """While its receiver is rebuilt nothing is sent; afterwards everything is."""
    async with start() as world:
        endpoint = await end_one(world)
        await ask(world, "POST", f"/v1/endpoints/{endpoint}/disable")
        await end_one(world)
        await world.advance(10 * MINUTE)
        assert len(world.received()) == 1
        await ask(world, "POST", f"/v1/endpoints/{endpoint}/enable")
        await world.settle()
        assert await statuses(world) == [DeliveryStatus.DELIVERED] * 2


async def test_held_events_of_a_lost_endpoint_fail_after_the_retention(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """Deliveries held longer than `storage.retention` fail with the endpoint's reason, and a warning is logged."""
    async with start(storage={"retention": "2d"}) as world:
        world.receiver.script(GONE)
        await end_one(world)
        await end_one(world)
        world.clock.advance(DAY)
        await world.relay.run_retention()
        assert "given up" not in caplog.text
        world.clock.advance(2 * DAY)
        await world.relay.run_retention()
        assert caplog.messages[-1].startswith("1 deliveries failed for good, because they were held longer")
        [held] = await world.deliveries()
        assert held.status is DeliveryStatus.FAILED
        assert (held.reason or "").endswith("the endpoint is disabled: the receiver unsubscribed (410 Gone)")


async def test_a_deleted_slack_webhook_is_disabled_with_a_readable_reason(start: Start) -> None:
    """`no_service` is final: the delivery fails, the endpoint is disabled, and both say what to do."""
    async with start() as world:
        world.receiver.always(Respond(status=404, body=b"no_service"))
        endpoint = await end_one(world, format="slack")
        await end_one(world, format="slack")
        await world.advance(10 * MINUTE)
        [one] = world.received()
        assert [block["type"] for block in json.loads(one.body)["blocks"]] == ["rich_text", "context"]
        shown = await ask(world, "GET", f"/v1/endpoints/{endpoint}")
        assert (shown["enabled"], IN_WORDS in shown["disabled_reason"]) == (False, True)
        assert await statuses(world) == [DeliveryStatus.FAILED, DeliveryStatus.PENDING]
        assert IN_WORDS in ((await world.deliveries())[0].reason or "")


def as_seconds(at: int, now: int) -> str:
    return str((at - now) // SECOND)


def as_a_date(at: int, now: int) -> str:
    return format_datetime(datetime.fromtimestamp(at // SECOND, UTC), usegmt=True)


@pytest.mark.one_on_postgresql
@pytest.mark.parametrize("form", [as_seconds, as_a_date])
@pytest.mark.parametrize("format", ["slack", "standard"])
async def test_retry_after_works_in_seconds_and_as_a_date(
    start: Start, form: Callable[[int, int], str], format: str
) -> None:
    """A receiver gets nothing until the second that it named, then everything."""
    async with start() as world:
        world.clock.at -= world.clock.at % SECOND
        ready = world.clock() + 95 * SECOND
        world.receiver.script(retry_later(form(ready, world.clock() + 5 * SECOND)))
        endpoint = await end_one(world, format=format)
        await end_one(world, format=format)
        [first] = world.received()
        shown = await ask(world, "GET", f"/v1/endpoints/{endpoint}")
        assert (shown["paused_until"], shown["enabled"]) == (to_rfc3339(ready), True)
        assert shown["failures"] == 0, "being asked to wait is no failure"
        await world.advance(ready - world.clock() - 1)
        assert world.received() == [first]
        await world.advance(MINUTE)
        assert await statuses(world) == [DeliveryStatus.DELIVERED] * 2
        assert min(one.at for one in world.received()[1:]) >= ready

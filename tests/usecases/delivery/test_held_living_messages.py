"""Living messages whose endpoint has quiet hours or a digest, or is disabled while the job runs: an edit is never held,
what people hear is.
"""

import json
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from starlette.responses import Response

from relay.config import DeliverySection
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.enqueue import enqueue
from relay.delivery.holding import Hold
from relay.endpoints import admin
from relay.model import HOUR, MINUTE, SECOND, Endpoint, EventType
from relay.store import Page, Store, Tx
from relay.store.tables import deliveries, endpoints, events
from relay.store.tables.filters import DeliveryFilter
from relay.telemetry import Telemetry
from tests.chats import CHANNEL, FakeDiscord, FakeNtfy, FakeSlack
from tests.make import NOON
from tests.unit.formats.format_samples import CONTEXT, JOBS, event
from tests.usecases.delivery.test_living_messages import IN_PROGRESS, World, ok, world

QUIET = "12:10-19:00 UTC"
MORNING = NOON + 7 * HOUR
POST = f"/api/chat.postMessage?channel={CHANNEL}"


@pytest.fixture
async def slack(store: Store) -> AsyncIterator[World]:
    async with world(FakeSlack(), store, POST, "slack_app", authorization="Bearer xoxb-secret-token") as made:
        made.endpoint = replace(made.endpoint, quiet=QUIET)
        yield made


@pytest.fixture
async def discord(store: Store) -> AsyncIterator[World]:
    async with world(FakeDiscord(), store, "/api/webhooks/1/secret", "discord") as made:
        made.endpoint = replace(made.endpoint, quiet=QUIET)
        yield made


async def test_an_ending_in_quiet_hours_is_edited_at_once_and_mentions_in_the_morning(slack: World) -> None:
    """One edit within the attempt, one mention at the end of the window, and none again after it."""
    assert ok(await slack.send(EventType.STARTED))
    slack.clock.advance(30 * MINUTE)
    hold = await slack.send(EventType.COMPLETED)
    assert hold == Hold(MORNING, f"held by the quiet hours {QUIET}", is_gathered=False)
    [root] = slack.chat.texts()
    assert IN_PROGRESS not in root
    assert "U0JANE" not in root
    slack.clock.advance(MORNING - slack.clock())
    assert ok(await slack.send(EventType.COMPLETED))
    _, reply = slack.chat.messages.values()
    assert reply["text"].startswith("<@U0JANE> ")
    assert ok(await slack.send(EventType.COMPLETED))
    assert len(slack.chat.messages) == 2


@pytest.mark.parametrize("requested_by", [None, "Jane", "nobody@acme.com"])
async def test_without_anybody_to_mention_nothing_is_left_for_the_morning(
    slack: World, requested_by: str | None
) -> None:
    """The edit is all."""
    assert ok(await slack.send(EventType.STARTED, requested_by=requested_by))
    slack.clock.advance(30 * MINUTE)
    assert ok(await slack.send(EventType.COMPLETED, requested_by=requested_by))


async def test_a_reply_in_the_thread_waits_for_the_morning(slack: World) -> None:
    """A reply notifies people as a message does."""
    slack.endpoint = replace(slack.endpoint, url=f"{slack.endpoint.url}&threads=true")
    assert ok(await slack.send(EventType.STARTED, requested_by=None))
    slack.clock.advance(30 * MINUTE)
    assert isinstance(await slack.send(EventType.COMPLETED, requested_by=None), Hold)
    assert len(slack.chat.messages) == 1
    slack.clock.advance(MORNING - slack.clock())
    assert ok(await slack.send(EventType.COMPLETED, requested_by=None))
    assert len(slack.chat.messages) == 2


async def test_a_failure_at_night_mentions_at_once(slack: World) -> None:
    """Somebody may have to act now."""
    assert ok(await slack.send(EventType.STARTED))
    slack.clock.advance(30 * MINUTE)
    assert ok(await slack.send(EventType.FAILED))
    assert len(slack.chat.messages) == 2


@pytest.mark.parametrize("chat", ["slack", "discord"])
async def test_a_job_of_the_night_is_one_message_in_the_morning(slack: World, discord: World, chat: str) -> None:
    """A start is a new message and held; if the job ends meanwhile, only the ending is posted."""
    world = slack if chat == "slack" else discord
    world.clock.advance(30 * MINUTE)
    assert isinstance(await world.send(EventType.STARTED), Hold)
    assert isinstance(await world.send(EventType.COMPLETED), Hold)
    assert world.chat.messages == {}
    world.clock.advance(MORNING - world.clock())
    sent = await world.send(EventType.COMPLETED)
    if chat == "slack":
        assert ok(sent)
        [message] = world.chat.texts()
        assert IN_PROGRESS not in message
        assert "U0JANE" in message
    else:
        assert sent is None  # a plain request


async def test_a_discord_message_is_edited_at_night(discord: World) -> None:
    """The edit is the whole delivery: nobody is mentioned there."""
    assert ok(await discord.send(EventType.STARTED))
    discord.clock.advance(30 * MINUTE)
    assert ok(await discord.send(EventType.COMPLETED))
    [message] = discord.chat.texts()
    assert IN_PROGRESS not in message


async def test_ntfy_s_start_is_replaced_at_night_without_a_sound(store: Store) -> None:
    """By the lowest priority."""
    async with world(FakeNtfy(), store, "/jobs", "ntfy") as ntfy:
        ntfy.endpoint = replace(ntfy.endpoint, quiet=QUIET)
        assert ok(await ntfy.send(EventType.STARTED))
        ntfy.clock.advance(30 * MINUTE)
        assert ok(await ntfy.send(EventType.COMPLETED))
        [message] = ntfy.chat.texts()
        assert IN_PROGRESS not in message
        assert ntfy.chat.called("publish")[1]["priority"] == 1


async def test_a_start_whose_answer_was_lost_is_not_repeated_at_night(slack: World) -> None:
    """It may be there, and if not it would wake people; its ending finds it."""
    slack.chat.answers["chat.postMessage"] = [Response(status_code=500)]
    assert not ok(await slack.send(EventType.STARTED))
    slack.clock.advance(30 * MINUTE)
    assert isinstance(await slack.send(EventType.STARTED), Hold)
    assert slack.chat.messages == {}


class Night:
    """A relay with its outbox, and a chat."""

    def __init__(self, world: World, endpoint: Endpoint) -> None:
        self.world, self.endpoint = world, endpoint
        rules = DeliverySection.model_validate({"schedule": ["0s", "5s", "1m", "10m"]})
        self.dispatcher = Dispatcher(
            world.store, world.egress, rules, world.clock, Telemetry(), "own_1", random.Random(1), living=world.living
        )

    async def happen(self, type: EventType, *jobs: str) -> None:
        """Every job gets this event."""
        now = self.world.clock()

        def work(tx: Tx) -> None:
            current = endpoints.get(tx, self.endpoint.id)
            for job in jobs:
                made = event(type, JOBS[type], context=CONTEXT)
                added = events.add(tx, replace(made, id=f"{made.id}{job}", job_id=job, created_at=now))
                enqueue(tx, added, [(current, None)] if current else [], now, 0)

        await self.world.store.write(work)

    async def run(self, advance: int = 0) -> None:
        """Sends what is due after this time, at the service's pace."""
        self.world.clock.advance(advance)
        for _ in range(12):
            await self.dispatcher.tick()
            await self.dispatcher.idle()
            self.world.clock.advance(2 * SECOND)

    def roots(self) -> Sequence[str]:
        return [json.dumps(one) for one in self.world.chat.messages.values() if "thread_ts" not in one]

    async def states(self) -> set[str]:
        which = DeliveryFilter(endpoint_id=self.endpoint.id)
        rows, _ = await self.world.store.read(lambda tx: deliveries.page(tx, Page(100), which))
        return {row.status.value for row in rows}


async def night(world: World, **fields: str | None) -> Night:
    endpoint = replace(world.endpoint, id="ep_night", events=tuple(EventType), **fields)  # type: ignore[arg-type]
    await world.store.write(lambda tx: endpoints.add(tx, endpoint))
    return Night(world, endpoint)


async def test_with_quiet_hours_and_a_digest_no_message_says_in_progress_after_the_end(slack: World) -> None:
    """The edits are made at once, the digest comes in the morning, as one message for all."""
    scene = await night(slack, digest="5m")
    await scene.happen(EventType.STARTED, "j1", "j2", "j3")
    await scene.run()
    assert [IN_PROGRESS in root for root in scene.roots()] == [True, True, True]
    slack.clock.advance(30 * MINUTE)
    await scene.happen(EventType.COMPLETED, "j1", "j2", "j3")
    await scene.run()
    assert [IN_PROGRESS in root for root in scene.roots()] == [False, False, False]
    assert await scene.states() == {"pending", "delivered"}
    await scene.run(MORNING - slack.clock())
    assert len(slack.chat.messages) == 4
    assert "3 scenarios ready" in scene.roots()[3]
    assert await scene.states() == {"delivered"}


async def test_a_single_ending_of_a_digest_mentions_as_without_one(slack: World) -> None:
    """The message is edited at once, the mention waits five minutes for others."""
    scene = await night(slack, digest="5m", quiet=None)
    await scene.happen(EventType.STARTED, "j1")
    await scene.run()
    await scene.happen(EventType.COMPLETED, "j1")
    await scene.run()
    assert [IN_PROGRESS in root for root in scene.roots()] == [False]
    assert len(slack.chat.messages) == 1
    await scene.run(5 * MINUTE)
    assert len(slack.chat.messages) == 2
    assert await scene.states() == {"delivered"}


async def test_the_message_of_a_disabled_endpoint_ends_when_it_is_enabled(slack: World) -> None:
    """Nothing is sent to a disabled endpoint; its held ending is the first to go, also after hours."""
    scene = await night(slack, quiet=None)
    await scene.happen(EventType.STARTED, "j1")
    await scene.run()
    await slack.store.write(lambda tx: admin.disable(tx, scene.endpoint, slack.clock()))
    await scene.happen(EventType.COMPLETED, "j1")
    await scene.run(HOUR)
    assert [IN_PROGRESS in root for root in scene.roots()] == [True]
    await slack.store.write(lambda tx: admin.enable(tx, scene.endpoint, slack.clock()))
    await scene.run()
    assert [IN_PROGRESS in root for root in scene.roots()] == [False]


async def test_a_relay_that_was_down_ends_its_messages_first_thing(slack: World) -> None:
    """The ending is in the outbox; no sweep is needed. A new token of the same app may edit."""
    scene = await night(slack, quiet=None)
    await scene.happen(EventType.STARTED, "j1")
    await scene.run()
    await scene.happen(EventType.EXPIRED, "j1")
    slack.restart()
    again = Night(slack, scene.endpoint)
    await again.run(61 * MINUTE)
    assert [IN_PROGRESS in root for root in again.roots()] == [False]


async def test_fifty_jobs_that_start_and_end_together_leave_no_start(slack: World) -> None:
    """A start that waited for the service's pace until its ending came is never posted."""
    scene = await night(slack, quiet=None)
    jobs = [f"j{number}" for number in range(50)]
    await scene.happen(EventType.STARTED, *jobs)
    await scene.dispatcher.tick()
    await scene.happen(EventType.CANCELLED, *jobs)
    for _ in range(6):
        await scene.run()
    assert len(scene.roots()) == 50
    assert not any(IN_PROGRESS in root for root in scene.roots())

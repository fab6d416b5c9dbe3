"""Digests: news of success of a while are one message, and none is lost or doubled, whatever fails in between."""

import asyncio
import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from relay.config import DeliverySection
from relay.delivery.digest import gather
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.enqueue import enqueue
from relay.egress.result import HttpResponse, SendResult
from relay.endpoints import admin, spec
from relay.endpoints.spec import EndpointSpec
from relay.errors import ValidationFailed
from relay.model import HOUR, MINUTE, SECOND, Delivery, Endpoint, EventType, Instant
from relay.store import Page, Store, Tx
from relay.store.tables import dashboard_queries, deliveries, digests, endpoints, events, outbox
from relay.store.tables.filters import DeliveryFilter
from relay.telemetry import Telemetry
from tests.conftest import Clock
from tests.make import NOON, OPEN_RULES, make_endpoint, make_event

FIVE_MINUTES = 5 * MINUTE


class Wire:
    """An HTTP client that keeps what it posts. The next answers have these statuses, the others are 200."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.posts: list[tuple[str, str, str]] = []
        """URL, webhook-id and body."""

    async def post(
        self, url: str, headers: Any, body: bytes, timeout: int, per_address: int | None = None
    ) -> tuple[SendResult, int]:
        self.posts.append((url, headers["webhook-id"], body.decode()))
        return HttpResponse(self.statuses.pop(0) if self.statuses else 200, {}, b""), 1

    @property
    def bodies(self) -> list[str]:
        return [body for _, _, body in self.posts]


def sender(store: Store, wire: Wire, clock: Clock, owner: str = "own_1", **rules: Any) -> Dispatcher:
    section = DeliverySection.model_validate({"schedule": ["0s", "1s", "1s", "1s"]} | rules)
    return Dispatcher(
        store, wire, section, clock, Telemetry(), owner, random.Random(1), public_url="https://relay.test"
    )


async def run(dispatcher: Dispatcher) -> None:
    await dispatcher.tick()
    await dispatcher.idle()


async def end(
    store: Store, now: Instant, *jobs: str, type: EventType = EventType.COMPLETED, to: Sequence[Endpoint]
) -> None:
    """Every job gets an event of this type, for these endpoints."""

    def work(tx: Tx) -> None:
        for job in jobs:
            enqueue(tx, events.add(tx, make_event(job, type, now)), [(endpoint, None) for endpoint in to], now, 0)

    await store.write(work)


async def rows(store: Store, endpoint: Endpoint) -> dict[str, Delivery]:
    """The endpoint's deliveries by job; the digest's is `digest`."""
    shown, _ = await store.read(lambda tx: deliveries.page(tx, Page(100), DeliveryFilter(endpoint_id=endpoint.id)))
    return {"digest" if row.is_digest else row.job_id: row for row in shown}


@pytest.fixture
async def chat(store: Store) -> Endpoint:
    endpoint = make_endpoint(id="ep_chat", name="chat", format="slack", digest="5m", events=tuple(EventType))
    await store.write(lambda tx: endpoints.add(tx, endpoint))
    return endpoint


async def test_what_ends_within_five_minutes_is_one_message(store: Store, clock: Clock, chat: Endpoint) -> None:
    """Nothing is sent before; every job's delivery says what it waits for, and ends with the digest."""
    wire = Wire()
    dispatcher = sender(store, wire, clock)
    await end(store, NOON, "j1", to=[chat])
    await end(store, NOON + MINUTE, "j2", to=[chat])
    clock.advance(FIVE_MINUTES - SECOND)
    await run(dispatcher)
    assert wire.posts == []
    waiting = (await rows(store, chat))["j1"]
    assert (waiting.status.value, waiting.next_attempt_at) == ("pending", NOON + FIVE_MINUTES)
    assert waiting.reason == "waits for the digest: what happens within 5m is sent as one message"
    clock.advance(SECOND)
    await run(dispatcher)
    [body] = wire.bodies
    assert "2 scenarios ready" in body
    assert "Job j1" in body
    assert "Job j2" in body
    kept = await rows(store, chat)
    assert {kept[job].digest_id for job in ("j1", "j2")} == {kept["digest"].id}
    assert {row.status.value for row in kept.values()} == {"delivered"}
    assert f"https://relay.test/deliveries/{kept['digest'].id}" in body
    listed, _ = await store.read(lambda tx: events.page(tx, Page(10), None, None, None))
    assert {event.job_id for event in listed} == {"j1", "j2"}  # the list of events has none for the digest
    assert await store.read(lambda tx: dashboard_queries.delays(tx, NOON, 10)) == []  # it waited on purpose


async def test_a_single_one_is_sent_as_if_there_was_no_digest(store: Store, clock: Clock, chat: Endpoint) -> None:
    """In the ordinary format."""
    wire = Wire()
    await end(store, NOON, "j1", to=[chat])
    clock.advance(FIVE_MINUTES)
    await run(sender(store, wire, clock))
    assert "Scenario ready" in wire.bodies[0]
    assert [row.is_in_digest for row in (await rows(store, chat)).values()] == [False]
    assert len(wire.posts) == 1


@pytest.mark.parametrize("type", [EventType.FAILED, EventType.NOT_FOUND, EventType.EXPIRED])
async def test_failures_pass(store: Store, clock: Clock, chat: Endpoint, type: EventType) -> None:
    """Somebody may have to act now."""
    wire = Wire()
    await end(store, NOON, "j1", "j2", type=type, to=[chat])
    await run(sender(store, wire, clock))
    clock.advance(2 * SECOND)
    await run(sender(store, wire, clock))
    assert len(wire.posts) == 2


async def test_later_endings_are_in_the_next_digest(store: Store, clock: Clock, chat: Endpoint) -> None:
    """A digest that was made gets no further members, also while its attempts fail."""
    wire = Wire(500)
    dispatcher = sender(store, wire, clock)
    await end(store, NOON, "j1", "j2", to=[chat])
    clock.advance(FIVE_MINUTES)
    await run(dispatcher)
    await end(store, clock(), "j3", "j4", to=[chat])
    clock.advance(FIVE_MINUTES)
    for _ in range(3):
        await run(dispatcher)
        clock.advance(10 * SECOND)
    assert [("Job j1" in body, "Job j3" in body) for body in wire.bodies] == [
        (True, False),
        (True, False),
        (False, True),
    ]


async def test_a_digest_that_fails_is_repeated_as_it_is(store: Store, clock: Clock, chat: Endpoint) -> None:
    """Three times 500, then 200: the same id and bytes each time, and all members delivered at the end only."""
    wire = Wire(500, 500, 500)
    dispatcher = sender(store, wire, clock)
    await end(store, NOON, *(f"j{number}" for number in range(50)), to=[chat])
    clock.advance(FIVE_MINUTES)
    for _ in range(3):
        await run(dispatcher)
        clock.advance(10 * SECOND)
    assert {row.status.value for row in (await rows(store, chat)).values()} == {"pending"}
    await run(dispatcher)
    assert len(wire.posts) == 4
    assert len(set(wire.posts)) == 1
    assert "50 scenarios ready" in wire.bodies[0]
    assert {row.status.value for row in (await rows(store, chat)).values()} == {"delivered"}


async def test_members_of_a_digest_that_finally_failed_go_to_the_fallback(store: Store, clock: Clock) -> None:
    """As events of their own: the fallback may be a program. The operator resends the digest, not its members."""
    first = make_endpoint(id="ep_a", name="a", url="https://a.test/", format="slack", digest="5m", fallback="b")
    second = make_endpoint(id="ep_b", name="b", url="https://b.test/")
    wire = Wire(500)
    await store.write(lambda tx: [endpoints.add(tx, first), endpoints.add(tx, second)])
    await end(store, NOON, "j1", "j2", to=[first])
    clock.advance(FIVE_MINUTES)
    dispatcher = sender(store, wire, clock, schedule=["0s"])
    await run(dispatcher)
    await run(dispatcher)
    assert [url for url, _, _ in wire.posts] == ["https://a.test/", "https://b.test/", "https://b.test/"]
    assert {json.loads(body)["data"]["job"]["id"] for body in wire.bodies[1:]} == {"j1", "j2"}
    kept = await rows(store, first)
    assert {row.status.value for row in kept.values()} == {"failed"}
    which = DeliveryFilter(endpoint_id=first.id)
    assert await store.read(lambda tx: deliveries.count_some(tx, which, sendable=True)) == (1, None)
    resent, _ = await store.write(lambda tx: deliveries.resend_batch(tx, which, clock(), 10, lambda _: None))
    assert resent == 1
    clock.advance(SECOND)
    await run(dispatcher)
    assert wire.bodies[-1] == wire.bodies[0]
    assert {row.status.value for row in (await rows(store, first)).values()} == {"delivered"}


async def test_one_delivery_can_be_sent_by_hand(store: Store, clock: Clock, chat: Endpoint) -> None:
    """Before its digest, or again after it: by itself, in the ordinary format."""
    wire = Wire()
    dispatcher = sender(store, wire, clock)
    await end(store, NOON, "j1", "j2", "j3", to=[chat])
    first = (await rows(store, chat))["j1"]
    assert await store.write(lambda tx: deliveries.resend_or_retry_now(tx, first.id, clock()))
    await run(dispatcher)
    assert "Scenario ready" in wire.bodies[0]
    clock.advance(FIVE_MINUTES)
    await run(dispatcher)
    assert "2 scenarios ready" in wire.bodies[1]
    second = (await rows(store, chat))["j2"]
    assert await store.write(lambda tx: deliveries.resend_or_retry_now(tx, second.id, clock()))
    clock.advance(2 * SECOND)
    await run(dispatcher)
    assert "Scenario ready" in wire.bodies[2]
    assert len(wire.posts) == 3


async def test_the_morning_has_one_message(store: Store, clock: Clock) -> None:
    """What a digest gathers in quiet hours, or shortly before, is sent at their end."""
    chat = make_endpoint(format="slack", digest="5m", quiet="11:00-14:30 UTC")
    early = make_endpoint(id="ep_2", format="slack", digest="5m", quiet="12:03-14:30 UTC")
    await store.write(lambda tx: [endpoints.add(tx, chat), endpoints.add(tx, early)])
    wire = Wire()
    dispatcher = sender(store, wire, clock)
    await end(store, NOON, "j1", to=[chat, early])
    clock.advance(HOUR)
    await end(store, clock(), "j2", to=[chat, early])
    await run(dispatcher)
    assert wire.posts == []
    assert "held by the quiet hours 11:00-14:30 UTC; waits for the digest" in str(
        (await rows(store, chat))["j1"].reason
    )
    clock.advance(HOUR + HOUR // 2)
    await run(dispatcher)
    assert ["2 scenarios ready" in body for body in wire.bodies] == [True, True]


async def test_a_disabled_endpoint_gets_one_digest_when_it_is_enabled(
    store: Store, clock: Clock, chat: Endpoint
) -> None:
    """Whether it was disabled before the jobs ended, or while they waited, or after the digest was made."""
    wire = Wire(500)
    dispatcher = sender(store, wire, clock)
    await end(store, NOON, "j1", "j2", to=[chat])
    clock.advance(FIVE_MINUTES)
    await run(dispatcher)
    disabled = await store.write(lambda tx: admin.disable(tx, chat, clock()))
    clock.advance(MINUTE)
    await end(store, clock(), "j3", to=[disabled])
    await end(store, clock(), "j4", to=[disabled])
    await run(dispatcher)
    assert len(wire.posts) == 1
    _, released = await store.write(lambda tx: admin.enable(tx, chat, clock()))
    assert released == 3  # the digest, and two that wait for the next one
    for _ in range(2):
        await run(dispatcher)
        clock.advance(2 * SECOND)
    assert ["Job j1" in body for body in wire.bodies] == [True, True, False]
    assert "2 scenarios ready" in wire.bodies[2]


async def test_a_start_whose_job_has_ended_is_not_told(store: Store, clock: Clock, chat: Endpoint) -> None:
    """The ending is the news; of the others the start stays, after the endings."""
    wire = Wire()
    await end(store, NOON, "j1", "j2", "j3", type=EventType.STARTED, to=[chat])
    await end(store, NOON + SECOND, "j1", to=[chat])
    await end(store, NOON + SECOND, "j2", type=EventType.CANCELLED, to=[chat])
    clock.advance(FIVE_MINUTES)
    await run(sender(store, wire, clock))
    [body] = wire.bodies
    assert "1 scenario ready, 1 cancelled, 1 started" in body
    assert body.index("Job j1") < body.index("Scenario cancelled: job j2") < body.index("Scenario started: job j3")


async def test_two_relays_put_each_of_500_jobs_into_one_digest(store: Store, clock: Clock, chat: Endpoint) -> None:
    """They gather at the same time, and one after the other."""
    wire = Wire()
    relays = [sender(store, wire, clock, owner) for owner in ("own_1", "own_2")]
    await end(store, NOON, *(f"j{number}" for number in range(500)), to=[chat])
    clock.advance(FIVE_MINUTES)
    await asyncio.gather(*map(run, relays))
    for _ in range(3):
        clock.advance(2 * SECOND)
        await asyncio.gather(*map(run, relays))
    kept = await store.read(lambda tx: deliveries.count(tx, DeliveryFilter(endpoint_id=chat.id)))
    assert kept == 501
    assert len(wire.posts) == 1
    assert "500 scenarios ready" in wire.bodies[0]
    digest = (await rows(store, chat))["digest"]
    assert len(await store.read(lambda tx: digests.members(tx, digest.id, 1_000))) == 500


async def test_nothing_is_lost_whenever_the_relay_dies(store: Store, clock: Clock, chat: Endpoint) -> None:
    """Between gathering and sending, and between sending and recording: at most the attempt in flight is repeated."""
    await end(store, NOON, "j1", "j2", to=[chat])
    clock.advance(FIVE_MINUTES)
    assert await store.write(lambda tx: gather(tx, chat.id, clock(), None)) == 2  # then it dies

    class Dying(Wire):
        async def post(self, *arguments: Any, **options: Any) -> tuple[SendResult, int]:
            await super().post(*arguments, **options)
            raise asyncio.CancelledError

    dying = Dying()
    await run(sender(store, dying, clock, "own_1"))
    wire = Wire()
    await store.write(lambda tx: outbox.release(tx, clock(), "own_1"))
    clock.advance(10 * SECOND)
    await run(sender(store, wire, clock, "own_2"))
    await run(sender(store, wire, clock, "own_2"))
    assert wire.posts == dying.posts
    assert {row.status.value for row in (await rows(store, chat)).values()} == {"delivered"}


@pytest.mark.parametrize(
    ("url", "digest", "code"),
    [
        ("https://hooks.slack.com/services/T0/B0/x", "5", "invalid_digest"),
        ("https://hooks.slack.com/services/T0/B0/x", "9s", "invalid_digest"),
        ("https://hooks.slack.com/services/T0/B0/x", "25h", "invalid_digest"),
        ("https://example.com/x", "5m", "digest_not_possible"),
    ],
)
def test_a_wrong_digest_is_refused_when_it_is_saved(url: str, digest: str, code: str) -> None:
    """With words; a program gets each event by itself."""
    with pytest.raises(ValidationFailed) as refused:
        spec.validate(EndpointSpec(url, digest=digest), OPEN_RULES, "url")
    assert refused.value.code == code
    assert refused.value.field == "digest"

"""Quiet hours hold news of success, and a fallback endpoint gets what finally failed."""

import random
from dataclasses import replace
from typing import Any

import pytest

from relay.config import DeliverySection
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.enqueue import enqueue
from relay.egress.result import HttpResponse, SendResult
from relay.endpoints import spec
from relay.endpoints.spec import EndpointSpec
from relay.errors import ValidationFailed
from relay.model import HOUR, PULL_URL, DeliveryStatus, Endpoint, EventType, Instant
from relay.store import Page, Store, Tx
from relay.store.tables import deliveries, endpoints, events
from relay.store.tables.filters import DeliveryFilter
from relay.telemetry import Telemetry
from tests.conftest import Clock
from tests.make import NOON, OPEN_RULES, make_endpoint, make_event

QUIET = "11:00-14:30 UTC"
"""NOON is inside."""
END = NOON + 2 * HOUR + HOUR // 2


class Wire:
    """An HTTP client with one answer for each host; keeps the hosts that it posted to."""

    def __init__(self, **answers: int) -> None:
        self.answers = answers
        self.posted: list[str] = []

    async def post(
        self, url: str, headers: object, body: bytes, timeout: int, per_address: int | None = None
    ) -> tuple[SendResult, int]:
        host = url.split("/")[2].split(".")[0]
        self.posted.append(host)
        return HttpResponse(self.answers.get(host, 200), {}, b""), 1


def dispatcher(store: Store, wire: Wire, clock: Clock, *schedule: str) -> Dispatcher:
    rules = DeliverySection.model_validate({"schedule": list(schedule) or ["0s"]})
    return Dispatcher(store, wire, rules, clock, Telemetry(), "own_1", random.Random(1))


async def add(store: Store, *some: Endpoint, type: EventType = EventType.COMPLETED, to: int = 1, now: Instant) -> None:
    """Adds the endpoints, and an event for the first `to` of them."""

    def work(tx: Tx) -> None:
        for endpoint in some:
            endpoints.add(tx, endpoint)
        event = events.add(tx, make_event("j1", type, now))
        enqueue(tx, event, [(endpoint, None) for endpoint in some[:to]], now, 0)

    await store.write(work)


async def all_of(store: Store, endpoint: Endpoint) -> list[tuple[str, Instant | None, str | None]]:
    which = DeliveryFilter(endpoint_id=endpoint.id)
    rows, _ = await store.read(lambda tx: deliveries.page(tx, Page(10), which))
    return [(row.status.value, row.next_attempt_at, row.reason) for row in rows]


@pytest.mark.parametrize("type", [EventType.COMPLETED, EventType.CANCELLED, EventType.STARTED])
async def test_news_of_success_wait_until_the_morning(store: Store, clock: Clock, type: EventType) -> None:
    """The delivery is pending, says why, and is sent when the window ends."""
    chat = make_endpoint(format="slack", quiet=QUIET)
    wire = Wire()
    await add(store, chat, type=type, now=NOON)
    assert await all_of(store, chat) == [("pending", END, f"held by the quiet hours {QUIET}")]
    sender = dispatcher(store, wire, clock)
    await sender.tick()
    await sender.idle()
    assert wire.posted == []
    clock.advance(END - NOON)
    await sender.tick()
    await sender.idle()
    assert wire.posted == ["example"]
    assert await all_of(store, chat) == [("delivered", None, None)]


@pytest.mark.parametrize("type", [EventType.FAILED, EventType.EXPIRED, EventType.NOT_FOUND])
async def test_failures_pass(store: Store, type: EventType) -> None:
    """Somebody may have to act now."""
    chat = make_endpoint(format="slack", quiet=QUIET)
    await add(store, chat, type=type, now=NOON)
    assert await all_of(store, chat) == [("pending", NOON, None)]


@pytest.mark.parametrize(
    ("fields", "held"),
    [
        ({"format": "slack_app"}, False),
        ({"format": "slack_app", "digest": "5m"}, False),
        ({"format": "discord"}, False),
        ({"format": "slack", "quiet": "11:00-14:30 Mars/Base"}, False),
        ({"format": "slack", "quiet": "13:00-14:30 UTC"}, False),
    ],
)
async def test_what_may_be_an_edit_is_not_held_before_it_is_known(
    store: Store, fields: dict[str, Any], held: bool
) -> None:
    """`LivingMessages` decides where a message may be there to edit; a zone that is no longer known holds nothing."""
    chat = make_endpoint(**{"quiet": QUIET} | fields)
    await add(store, chat, now=NOON)
    [(_, at, _)] = await all_of(store, chat)
    assert at == (END if held else NOON)


async def test_a_fallback_gets_what_finally_failed(store: Store, clock: Clock) -> None:
    """Once, in its own format, also if it fails itself; what succeeds later on the schedule is not sent there."""
    first = make_endpoint(id="ep_a", name="first", url="https://broken.test/", fallback="second")
    second = make_endpoint(id="ep_b", name="second", url="https://broken.test/2", format="slack", fallback="first")
    wire = Wire(broken=500)
    await add(store, first, second, now=NOON)
    sender = dispatcher(store, wire, clock)
    for _ in range(3):
        await sender.tick()
        await sender.idle()
    assert wire.posted == ["broken", "broken"]
    assert [(status, at) for status, at, _ in await all_of(store, first)] == [("failed", None)]
    assert [(status, at) for status, at, _ in await all_of(store, second)] == [("failed", None)]


@pytest.mark.parametrize("fallback", ["missing", "first", "pulled", None])
async def test_without_a_usable_fallback_nothing_else_is_sent(
    store: Store, clock: Clock, fallback: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A name that nobody has, its own, or that of an endpoint that is pulled: the log says so, once."""
    endpoint = make_endpoint(name="first", url="https://broken.test/", fallback=fallback)
    pulled = make_endpoint(id="ep_pulled", name="pulled", url=PULL_URL, host="")
    wire = Wire(broken=500)
    await add(store, endpoint, pulled, now=NOON)
    await store.write(lambda tx: enqueue(tx, events.add(tx, make_event("j2")), [(endpoint, None)], NOON, 0))
    sender = dispatcher(store, wire, clock)
    for _ in range(3):
        await sender.tick()
        await sender.idle()
    assert [status for status, _, _ in await all_of(store, endpoint)] == [DeliveryStatus.FAILED.value] * 2
    assert wire.posted == ["broken"] * 2
    assert await all_of(store, pulled) == []
    warnings = [line for line in caplog.messages if "fallback that cannot be sent anything" in line]
    assert len(warnings) == (fallback is not None)


async def test_a_retry_is_no_failure(store: Store, clock: Clock) -> None:
    """While attempts are left on the schedule the fallback hears nothing."""
    first = make_endpoint(id="ep_a", name="first", url="https://broken.test/", fallback="second")
    second = make_endpoint(id="ep_b", name="second", url="https://fine.test/")
    wire = Wire(broken=500)
    await add(store, first, second, now=NOON)
    sender = dispatcher(store, wire, clock, "0s", "1h")
    await sender.tick()
    await sender.idle()
    assert await all_of(store, second) == []


@pytest.mark.parametrize(
    ("url", "quiet", "code"),
    [
        ("https://hooks.slack.com/services/T0/B0/x", "22-7", "invalid_quiet"),
        ("https://hooks.slack.com/services/T0/B0/x", "22:00-07:00 Mars/Base", "invalid_quiet"),
        ("https://example.com/x", "22:00-07:00 UTC", "quiet_not_possible"),
    ],
)
def test_a_wrong_window_is_refused_when_it_is_saved(url: str, quiet: str, code: str) -> None:
    """With words; a program gets its events at night too."""
    with pytest.raises(ValidationFailed) as refused:
        spec.validate(EndpointSpec(url, quiet=quiet), replace(OPEN_RULES), "url")
    assert refused.value.code == code
    assert refused.value.field == "quiet"

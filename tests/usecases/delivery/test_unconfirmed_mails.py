"""A mail server that takes the mail and never says so: at most one repeat, which is the same mail."""

import random
from email import message_from_bytes

from relay.config import DeliverySection
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.enqueue import enqueue
from relay.egress.mail_url import MailServer
from relay.egress.result import UNCERTAIN, HttpResponse, RequestFailed, SendResult
from relay.model import HOUR, MINUTE
from relay.store import Page, Store, Tx
from relay.store.tables import deliveries, endpoints, events
from relay.store.tables.filters import DeliveryFilter
from relay.telemetry import Telemetry
from tests.conftest import Clock
from tests.make import make_endpoint, make_event
from tests.usecases.delivery.test_quiet_and_fallback import Wire

URL = "smtp://mail.test:587/?from=relay@acme.example&to=a@acme.example&tls=starttls"


class Mailer:
    """A mail client with one result after the other, the last for ever; keeps what it sent, and when."""

    def __init__(self, clock: Clock, *results: SendResult) -> None:
        self.clock, self.results = clock, list(results)
        self.sent: list[tuple[int, bytes]] = []

    async def send(self, server: MailServer, message: bytes, timeout: int) -> tuple[SendResult, int]:
        self.sent.append((self.clock(), message))
        return self.results.pop(0) if len(self.results) > 1 else self.results[0], 1


async def days_of(store: Store, clock: Clock, mailer: Mailer) -> str:
    """Sends one mail for three days; the delivery's status at their end."""
    box = make_endpoint(format="email", url=URL, host="mail.test:587")

    def work(tx: Tx) -> None:
        endpoints.add(tx, box)
        enqueue(tx, events.add(tx, make_event("j1", now=clock())), [(box, None)], clock(), 0)

    await store.write(work)
    rules = DeliverySection()
    relay = Dispatcher(store, Wire(), rules, clock, Telemetry(), "own_1", random.Random(1), mail_of=lambda _: mailer)
    for _ in range(3 * 24 * 2):
        await relay.tick()
        await relay.idle()
        clock.advance(HOUR // 2)
    rows, _ = await store.read(lambda tx: deliveries.page(tx, Page(10), DeliveryFilter(endpoint_id=box.id)))
    return rows[0].status.value


async def test_a_mail_that_is_never_confirmed_is_sent_twice_at_most(store: Store, clock: Clock) -> None:
    """Byte by byte the same, Message-ID and Date included, the second after half an hour; then the delivery failed."""
    mailer = Mailer(clock, RequestFailed(UNCERTAIN, "the mail server did not confirm; it may have taken the mail"))
    assert await days_of(store, clock, mailer) == "failed"
    (first, mail), (second, repeat) = mailer.sent
    assert mail == repeat
    assert message_from_bytes(mail)["message-id"]
    assert second - first >= 30 * MINUTE


async def test_a_mail_that_is_refused_for_now_follows_the_schedule(store: Store, clock: Clock) -> None:
    """451 to a recipient comes before the mail was sent: nobody has it, and every attempt of the schedule is made."""
    mailer = Mailer(clock, *[HttpResponse(451, {}, b"try later")] * 5, HttpResponse(250, {}, b"queued"))
    assert await days_of(store, clock, mailer) == "delivered"
    assert len(mailer.sent) == 6

"""Sends the events of a job as one message that changes, to services that allow it.

Before the first request the message is noted as begun, and after each answer where it is. A delivery holds the
message's lease meanwhile: two relays, or a start and an ending, never work on one message at the same time.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from relay import __version__, formats
from relay.delivery.holding import Hold, hold_of
from relay.egress import HttpResponse, RequestFailed, SendResult
from relay.egress.result import BUSY
from relay.formats.exchange import MENTION_IS_DUE, SKIPPED_AS_ENDED, Call, Task
from relay.model import (
    FINAL_EVENTS,
    Delivery,
    Endpoint,
    EventType,
    Instant,
    LivingMessage,
    MessageState,
)
from relay.store import Store, Tx
from relay.store.tables import living_messages

_CALLS = 5
"""Requests of one exchange at most, for the length of a lease."""
_BUSY = RequestFailed(BUSY, "another delivery works on the message")


class RequestSender(Protocol):
    """The HTTP client: `relay.egress.http_client.WebhookHttpClient`."""

    async def request(
        self, method: str, url: str, headers: dict[str, str], body: bytes, timeout: int, per_address: int | None = None
    ) -> tuple[SendResult, int]:
        """As `post`, with another method."""


class LivingMessages:
    """Shows each event of a job in one message."""

    def __init__(
        self,
        store: Store,
        egress_of: Callable[[Endpoint], RequestSender],
        clock: Callable[[], Instant],
        timeout: int,
    ) -> None:
        """`egress_of` gives the HTTP client that may call an endpoint; `timeout` is for one request, in ms."""
        self._store, self._egress_of, self._clock, self._timeout = store, egress_of, clock, timeout
        self._caches: dict[str, dict[str, str]] = {}

    @staticmethod
    def handles(endpoint: Endpoint, delivery: Delivery) -> bool:
        """Whether deliveries of this event to this endpoint share one message."""
        if delivery.event_type not in (*FINAL_EVENTS, EventType.STARTED):
            return False
        format = formats.FORMATS.get(endpoint.format)
        return format is not None and format.exchange is not None

    async def send(
        self, endpoint: Endpoint, delivery: Delivery, may_hold: bool = True
    ) -> tuple[SendResult, int] | Hold | None:
        """The result of the exchange, and its duration in ms. None if a plain request is to be sent.

        Quiet hours and digests hold a new message, a mention and the line of a digest, but never an edit: nobody hears
        it, and without it a message would say all night that the job is running. Then the result is what holds the rest
        of the delivery. If not `may_hold`, it has been held already, or somebody sends it by hand.
        """
        format = formats.FORMATS[endpoint.format]
        if format.exchange is None:
            return None
        started = self._clock()
        hold = self._hold(endpoint, delivery, started) if may_hold else None
        claim = await self._store.write(
            lambda tx: self._claim(tx, delivery, format.keeps_every_message, hold, self._clock())
        )
        if claim is None or isinstance(claim, Hold):
            return claim
        if isinstance(claim, HttpResponse | RequestFailed):
            return claim, 0
        message, may_be_there = claim
        if message.address and format.address_key not in message.address:
            # The endpoint had another format: the message is at another service, and stays as it is.
            message = replace(message, address={}, mentioned=False)
        cache = self._caches.setdefault(endpoint.id, {})
        is_final = delivery.event_type in FINAL_EVENTS
        task = Task(endpoint.url, delivery.body, message, is_final, may_be_there, cache, may_notify=hold is None)
        result, after = await self._run(endpoint, task)
        await self._store.write(lambda tx: _release(tx, message, after))
        if hold is not None and (
            result is MENTION_IS_DUE or (hold.is_gathered and after is not None and after.state is MessageState.ENDED)
        ):
            return hold
        return result, max(0, self._clock() - started)

    @staticmethod
    def _hold(endpoint: Endpoint, delivery: Delivery, now: Instant) -> Hold | None:
        """What holds a new message about the event. No digest holds a start, which its ending is to replace."""
        is_start = delivery.event_type is EventType.STARTED
        return hold_of(replace(endpoint, digest=None) if is_start else endpoint, delivery.event_type, now)

    def _claim(
        self, tx: Tx, delivery: Delivery, keeps_every_message: bool, hold: Hold | None, now: Instant
    ) -> tuple[LivingMessage, bool] | HttpResponse | RequestFailed | Hold | None:
        message, is_start = living_messages.lock(tx, delivery), delivery.event_type is EventType.STARTED
        if is_start and message is not None and message.state is MessageState.ENDED:
            return SKIPPED_AS_ENDED
        lease = now + self._timeout * _CALLS
        if message is None:
            return self._claim_new(tx, delivery, keeps_every_message, hold, now)
        if is_start and living_messages.has_ended(tx, delivery):
            return SKIPPED_AS_ENDED
        if message.leased_until is not None and now < message.leased_until <= lease:
            return _BUSY
        if is_start and not message.address and hold is not None:
            return hold
        leased = replace(message, leased_until=lease)
        living_messages.save(tx, leased)
        return leased, not message.address

    def _claim_new(
        self, tx: Tx, delivery: Delivery, keeps_every_message: bool, hold: Hold | None, now: Instant
    ) -> tuple[LivingMessage, bool] | HttpResponse | RequestFailed | Hold | None:
        """Adds the note of a message, even if it is held and the note removed at once: of a start and an ending that
        come together, one waits for the other's note. So no start is posted after its ending is held.
        """
        is_start = delivery.event_type is EventType.STARTED
        if hold is None and not is_start and not keeps_every_message:
            return None
        new = LivingMessage(
            workspace=delivery.workspace,
            job_id=delivery.job_id,
            endpoint_id=delivery.endpoint_id,
            state=MessageState.POSTING,
            posting_since=now,
            leased_until=now + self._timeout * _CALLS,
        )
        if not living_messages.add(tx, new):
            return _BUSY
        outcome = SKIPPED_AS_ENDED if is_start and living_messages.has_ended(tx, delivery) else hold
        if outcome is None:
            return new, False
        living_messages.remove(tx, new)
        return outcome

    async def _run(self, endpoint: Endpoint, task: Task) -> tuple[SendResult, LivingMessage | None]:
        exchange = formats.FORMATS[endpoint.format].exchange
        if exchange is None:
            raise ValueError(f"the format {endpoint.format} has no exchange")
        steps = exchange(task)
        answer: SendResult = HttpResponse(204, {}, b"")
        try:
            step = next(steps)
            while True:
                if isinstance(step, Call):
                    answer = await self._call(endpoint, step)
                else:
                    await self._store.write(lambda tx, living_message=step: living_messages.save(tx, living_message))  # type: ignore[misc]
                step = steps.send(answer)
        except StopIteration as ended:
            result: tuple[SendResult, LivingMessage | None] = ended.value
            return result

    async def _call(self, endpoint: Endpoint, call: Call) -> SendResult:
        headers = {
            **endpoint.headers,
            "content-type": f"{call.content_type}; charset=utf-8",
            "user-agent": f"exec-relay/{__version__}",
        }
        result, _ = await self._egress_of(endpoint).request(call.method, call.url, headers, call.body, self._timeout)
        return result


def _release(tx: Tx, before: LivingMessage, after: LivingMessage | None) -> None:
    """Stores the message without a lease; one that the service did not take is forgotten."""
    if after is None:
        living_messages.remove(tx, before)
    else:
        living_messages.save(tx, replace(after, leased_until=None))

"""The dispatcher leases due deliveries, sends them, and has the results recorded.

A result is recorded only after the attempt. After a crash in between, the lease expires (or the next start of the relay
releases it), and the attempt is repeated with the same webhook-id.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import count

from relay.config import DeliverySection
from relay.delivery import retry_policy
from relay.delivery.admission import SKIP_FOR, AdmissionControl, Admitted, Reservation, is_probe, min_interval
from relay.delivery.attempt import CompletedAttempt, HttpSender, MailSender, redacted, send, span_attributes, to_attempt
from relay.delivery.digest import gather
from relay.delivery.holding import Hold
from relay.delivery.living_messages import LivingMessages
from relay.delivery.recorder import ResultRecorder
from relay.egress import RequestFailed, SendResult
from relay.egress.mail_url import is_mail_url
from relay.egress.result import BUSY, UNSENT
from relay.errors import StoreError
from relay.model import (
    ID_BYTES,
    SECOND,
    UNGATHERED,
    Attempt,
    Delivery,
    DueDelivery,
    Endpoint,
    Event,
    Instant,
    new_id,
)
from relay.store import Store, Tx
from relay.store.tables import due_deliveries, endpoints, outbox
from relay.store.tables.outbox import Lease, Leased, LeasedDelivery
from relay.telemetry import Telemetry
from relay.telemetry.state_changes import News

GRACE = 8 * SECOND
"""How long attempts in flight may take when the relay stops, in ms. Container engines kill after ten seconds, and the
store needs the rest."""

_SCAN_LIMIT = 256
"""Due deliveries that one read returns at most. If more are due, the relay reads endpoint by endpoint, round robin."""
_MIN_SCAN = 16

_REFILL = 4
"""It leases again as soon as one in so many slots is free: many leases cost the store hardly more than one."""
_REFILL_AFTER = 20
"""Milliseconds after which it leases even if fewer slots are free."""

_UNSENT = 5 * SECOND
"""How long a delivery is postponed if no file descriptor is left to send it."""

_RESERVE = 2 * SECOND
"""How much of its lease an attempt leaves: to record the result, and because clocks of relays differ a little."""

_STARTS_PER_LOOP_TURN = 8
"""Attempts that begin in one turn of the event loop, so that other tasks do not wait for hundreds of them."""

_POSTPONE_BATCH = 500
"""Deliveries of one paused or disabled endpoint that one transaction updates."""


class Dispatcher:
    """Sends due deliveries, within the concurrency limits of the relay, of each host and of each endpoint."""

    def __init__(
        self,
        store: Store,
        egress: HttpSender,
        rules: DeliverySection,
        clock: Callable[[], Instant],
        telemetry: Telemetry,
        owner: str,
        rng: random.Random,
        seen_since: Callable[[], Instant] = lambda: 0,
        store_news: Callable[[Tx, Sequence[News | None]], None] = lambda tx, news: None,
        outside_egress: HttpSender | None = None,
        mail_of: Callable[[Endpoint], MailSender] | None = None,
        living: LivingMessages | None = None,
        public_url: str | None = None,
    ) -> None:
        """Failures before `seen_since()` do not count: an earlier run may have recorded them by a wrong clock.

        `outside_egress` sends to endpoints that are `outside_only`; None: `egress` sends to them too. `mail_of` gives
        the mail client for an endpoint; `living` sends to those whose messages change. `public_url` is the relay's.
        """
        self._public_url = public_url
        self._mail_of, self._living = mail_of, living
        self._store, self._egress, self._rules, self._clock = store, egress, rules, clock
        self._telemetry, self._owner, self._rng = telemetry, owner, rng
        self._outside_egress = outside_egress or egress
        self._admission = AdmissionControl(rules.concurrency, rules.per_host, rules.endpoint_concurrency)
        self._round_robin_cursor = ""
        self._many_due = False
        """Whether the last read found more due deliveries than one read returns."""
        self._attempts: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self._may_wait = True
        """Whether due deliveries may wait for a slot."""
        self._lease = rules.timeout * 2 + 10 * SECOND
        self._leases = count(1)
        self._recorder = ResultRecorder(
            store,
            rules,
            clock,
            telemetry,
            rng,
            self._admission,
            self._results_recorded,
            self._lease,
            seen_since,
            store_news,
        )
        self.caught_up_at = clock()
        """When the relay last had started every due delivery that its endpoint could take."""

    @property
    def suspended(self) -> bool:
        """Whether sending is suspended: due deliveries wait, and only tests are sent."""
        return self._admission.suspended

    def suspend(self, suspended: bool) -> None:
        """Suspends or resumes sending. Attempts in flight end."""
        if self._admission.suspended and not suspended:
            self.wake()
        self._admission.suspended = suspended

    def wake(self) -> None:
        """Makes `run` check for due deliveries as soon as the event loop is free."""
        self._woken.set()

    async def run(self) -> None:
        """Runs a tick whenever it is woken, until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                await self.tick()
            except StoreError as error:
                self._telemetry.log.error("due deliveries can't be leased, the next tick tries again: %s", error)
            except Exception:  # a fault in one tick must not stop all delivery
                self._telemetry.log.exception("due deliveries were not sent, the next tick tries again")

    async def tick(self) -> None:
        """Starts an attempt of every due delivery that gets a slot. Raises StoreError."""
        self._may_wait, ends_reached = True, 0
        while not self._stopping and self._admission.free > 0:
            now = self._clock()
            if self.suspended:
                self.caught_up_at = now
                return
            due, round_ends = await self._select_due(now)
            admitted = self._admission.admit(due, now)
            if admitted.next_slot_at is not None:
                self._wake_in(admitted.next_slot_at - now)
            if admitted:
                await self._lease_and_start(admitted)
                await self._gather(admitted.ungathered)
                ends_reached = 0
                continue
            ends_reached += round_ends
            if ends_reached > 1:  # a whole round over all endpoints started nothing, wherever it began
                self.caught_up_at, self._may_wait = now, bool(due) or round_ends == 1
                return

    def reserve(self) -> Reservation:
        """Slots for one transaction: `enqueue` leases new deliveries with it, and its `start` begins the attempts."""
        return Reservation(self._admission, self._new_lease, self._start_all)

    async def idle(self) -> None:
        """Returns when no attempt is in flight and all results are recorded."""
        while self._attempts or self._recorder.task is not None:
            await asyncio.wait([*self._attempts, *([self._recorder.task] if self._recorder.task else [])])

    async def stop(self, spent: int = 0) -> None:
        """Starts no further attempt, waits for those in flight, then releases all leases.

        It waits for `GRACE` less `spent`, both in ms, and cancels the attempts that take longer.
        """
        self._stopping = True
        self._admission.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._attempts:
            _, unfinished = await asyncio.wait(self._attempts, timeout=max(0, GRACE - spent) / 1_000)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
        await self._recorder.stop()
        now = self._clock()
        await self._store.write(lambda tx: outbox.release(tx, now, self._owner), at_end=True)

    async def send_test(self, endpoint: Endpoint, event: Event, body: bytes, now: Instant) -> Attempt:
        """Sends `body` once, now, outside the outbox. Returns the attempt; nothing is stored."""
        id = new_id("dlv_test", now, self._store.random_bytes(ID_BYTES))
        delivery = Delivery.of(event, endpoint.id, id=id, body=body, now=now, due_at=None)
        mail, egress = self._mail_for(endpoint), self._egress_of(endpoint)
        outcome, duration = await send(egress, endpoint, event.id, body, self._rules.timeout, now, mail=mail)
        leased = LeasedDelivery(delivery=delivery, host=endpoint.host, trigger="test", lease=self._new_lease())
        completed = CompletedAttempt(leased, endpoint, outcome, now, duration)
        decision = self._recorder.classify(completed, now)
        return to_attempt(completed, decision, self._store.random_bytes(ID_BYTES))

    async def _select_due(self, now: Instant) -> tuple[list[DueDelivery], int]:
        """Due deliveries, and how many ends of the round were reached: 2 if these are all that are due, else 1 or 0."""
        cursor, (per_endpoint, total_slots) = self._round_robin_cursor, self._admission.to_scan()

        def select(tx: Tx) -> tuple[list[DueDelivery], str | None]:
            # To count costs far less than to read so many, and nothing is saved by it if there are few.
            if not (self._many_due and due_deliveries.has_at_least_due(tx, now, _SCAN_LIMIT)):
                due = due_deliveries.due(tx, now, _SCAN_LIMIT)
                if len(due) < _SCAN_LIMIT:
                    return due, None
            limit = min(_SCAN_LIMIT, 2 * total_slots + _MIN_SCAN)
            return due_deliveries.due_round_robin(tx, now, cursor, per_endpoint, limit)

        due, next_cursor = await self._store.read(select)
        self._many_due = next_cursor is not None
        if next_cursor is None:
            return due, 2
        self._round_robin_cursor = next_cursor
        return due, 0 if next_cursor else 1

    async def _lease_and_start(self, admitted: Admitted) -> None:
        """Leases and starts the admitted deliveries. Those of paused and disabled endpoints are due no longer."""
        unused = {due.id: due for due in admitted.start}
        try:
            leased, unleased = await self._store.write(lambda tx: self._lease_due(tx, admitted), at_end=True)
            if unleased:
                self._admission.skip([unused[id] for id in unleased], self._clock())
                self._wake_in(SKIP_FOR)
            await self._start_all((lease, endpoint, unused.pop(lease.delivery.id)) for lease, endpoint in leased)
        finally:
            for due in unused.values():
                self._admission.cancel(due)

    async def _gather(self, ungathered: Sequence[DueDelivery]) -> None:
        """Makes the digests that are due; leaves those out for a while whose rows another transaction holds."""
        for id in sorted({due.endpoint_id for due in ungathered}):
            work = partial(gather, endpoint_id=id, now=self._clock(), public_url=self._public_url)
            if not await self._store.write(work, at_end=True):
                self._admission.skip([due for due in ungathered if due.endpoint_id == id], self._clock())
                self._wake_in(SKIP_FOR)

    async def _start_all(self, deliveries: Iterable[tuple[LeasedDelivery, Endpoint, DueDelivery]]) -> None:
        for number, (leased, endpoint, due) in enumerate(deliveries, 1):
            task = asyncio.create_task(self._deliver(leased, endpoint, due))
            self._attempts.add(task)
            task.add_done_callback(self._attempts.discard)
            if number % _STARTS_PER_LOOP_TURN == 0:
                await asyncio.sleep(0)

    def _lease_due(self, tx: Tx, admitted: Admitted) -> tuple[list[Leased], set[str]]:
        """The leased deliveries with their endpoints, and the ids of those that another relay holds or has leased."""
        now = self._clock()
        next_slots = {due.endpoint_id: at for due in admitted.start if (at := self._next_slot_at(due, now))}
        acquired = endpoints.acquire_slots(tx, next_slots, now) if next_slots else set()
        ids = [due.id for due in admitted.start if due.endpoint_id in acquired or due.endpoint_id not in next_slots]
        leased = outbox.lease(tx, ids, now, self._new_lease())
        endpoint_ids = {lease.delivery.endpoint_id for lease in leased}
        by_id = endpoints.get_many(tx, endpoint_ids) if endpoint_ids else {}
        endpoints.release_slots(tx, acquired - endpoint_ids)
        for id in admitted.disabled:
            outbox.hold_for_disabled(tx, id, now, _POSTPONE_BATCH)
        for id, until in admitted.paused.items():
            due_again = partial(self._random_instant, until, retry_policy.jitter_window(until - now))
            outbox.postpone(tx, id, now, until, due_again, _POSTPONE_BATCH)
        with_endpoint = [(lease, by_id[id]) for lease in leased if (id := lease.delivery.endpoint_id) in by_id]
        return with_endpoint, set(ids) - {lease.delivery.id for lease in leased}

    def _new_lease(self) -> Lease:
        return Lease(f"{self._owner}.{next(self._leases)}", self._clock() + self._lease)

    def _next_slot_at(self, due: DueDelivery, now: Instant) -> Instant | None:
        """When the next attempt may begin, by any relay; None if the endpoint has no such limit.

        After a probe it is the latest instant: the end of the probe makes it sooner.
        """
        if is_probe(due):
            return now + self._rules.timeout + SECOND
        interval = min_interval(due)
        return now + interval if interval else None

    def _random_instant(self, earliest: Instant, window: int) -> Instant:
        return earliest + round(self._rng.random() * window)

    def _wake_in(self, ms: int) -> None:
        """Wakes `run` in `ms`, unless it will wake sooner: the scheduler's interval is too long for rate limits."""
        loop = asyncio.get_running_loop()
        at = loop.time() + ms / 1_000
        if self._timer is not None and loop.time() < self._timer.when() <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(at, self.wake)

    def _results_recorded(self, all_ended: bool) -> None:
        self._may_wait |= not all_ended
        self._refill()

    def _refill(self) -> None:
        """To be called after slots were freed or results recorded: there may be more to lease."""
        if not self._may_wait:
            return
        if self._admission.free * _REFILL >= self._rules.concurrency:
            self.wake()
        else:
            self._wake_in(_REFILL_AFTER)

    async def _deliver(self, leased: LeasedDelivery, endpoint: Endpoint, due: DueDelivery) -> None:
        """Makes one attempt, and has its result recorded."""
        completed = None
        try:
            if self._may_begin(leased, endpoint):
                completed = await self._attempt(leased, endpoint, due)
        finally:
            if completed is None:
                self._admission.cancel(due)
            elif completed.probe is None:
                self._admission.release(due)
        if completed is not None:
            await self._recorder.put(completed)  # rule: attempt-before-result
        self._refill()

    def _mail_for(self, endpoint: Endpoint) -> MailSender | None:
        return self._mail_of(endpoint) if self._mail_of is not None else None

    def _egress_of(self, endpoint: Endpoint) -> HttpSender:
        return self._outside_egress if endpoint.outside_only else self._egress  # guard: outside-only

    def _may_begin(self, leased: LeasedDelivery, endpoint: Endpoint) -> bool:
        """Whether the attempt is sure to end, and to be recorded, before its lease ends by whatever relay's clock; if
        not, the delivery is leased again later."""
        longest = self._rules.timeout * (2 if is_mail_url(endpoint.url) else 1)
        # rule: lease-outlasts-attempt
        return not (self._stopping or self.suspended) and leased.lease.until - self._clock() > longest + _RESERVE

    async def _postpone(self, leased: LeasedDelivery, wait: int) -> None:
        """Releases the lease: the delivery is due again in `wait` milliseconds."""
        due_at = self._clock() + wait
        work = partial(outbox.release_one, id=leased.delivery.id, due_at=due_at, lease=leased.lease)
        text = "the lease of delivery %s can't be released; the delivery is due again when it expires: %s"
        await self._end_lease(leased, work, text)

    async def _hold(self, leased: LeasedDelivery, hold: Hold) -> None:
        """Releases the lease: the delivery, or what is left of it, waits for the endpoint's quiet hours or digest."""
        digest_id = UNGATHERED if hold.is_gathered else leased.delivery.digest_id
        work = partial(
            outbox.hold,
            id=leased.delivery.id,
            until=hold.until,
            reason=hold.reason,
            digest_id=digest_id,
            lease=leased.lease,
        )
        text = "delivery %s can't be held; it is due again when its lease expires: %s"
        await self._end_lease(leased, work, text)

    async def _end_lease(self, leased: LeasedDelivery, work: Callable[[Tx], None], text: str) -> None:
        """Ends the lease of a delivery that is not attempted now. If the store fails, logs `text`."""
        try:
            await self._store.write(work, at_end=True)
        except StoreError as error:
            self._telemetry.log.error(text, leased.delivery.id, error)

    async def _send_living(
        self, living: LivingMessages, endpoint: Endpoint, leased: LeasedDelivery
    ) -> tuple[SendResult, int] | Hold | None:
        """The result of showing the event in a message that changes, or what holds it; None if a plain request is to be
        sent."""
        may_hold = leased.trigger == outbox.SCHEDULE and leased.delivery.digest_id is None
        result = await living.send(endpoint, leased.delivery, may_hold)
        return (redacted(result[0], endpoint), result[1]) if isinstance(result, tuple) else result

    async def _attempt(self, leased: LeasedDelivery, endpoint: Endpoint, due: DueDelivery) -> CompletedAttempt | None:
        """None if the relay could not send for a reason of its own: that counts as no attempt."""
        delivery, started = leased.delivery, self._clock()
        try:
            with self._telemetry.attempt_span(delivery, endpoint) as span:
                result = None
                if self._living is not None and self._living.handles(endpoint, delivery):
                    result = await self._send_living(self._living, endpoint, leased)
                if isinstance(result, Hold):
                    await self._hold(leased, result)
                    return None
                outcome, duration = result or await send(
                    self._egress_of(endpoint),
                    endpoint,
                    delivery.event_id,
                    delivery.body,
                    self._rules.timeout,
                    started,
                    span.traceparent,
                    None if due.is_proven else self._rules.per_host,
                    self._mail_for(endpoint),
                    max(0, delivery.attempts - delivery.attempts_in_run),
                )
                span.set_attributes(span_attributes(outcome))
        except Exception as error:  # a fault of the relay is a failed attempt like any other: recorded and retried
            text = "delivery %s could not be sent; the attempt counts as failed"
            self._telemetry.log.exception(text, delivery.id)
            outcome, duration = RequestFailed("internal", f"the relay failed to send it: {type(error).__name__}"), 0
        if isinstance(outcome, RequestFailed) and outcome.kind == UNSENT:
            text = "delivery %s is postponed by %d s: %s"
            self._telemetry.log.error(text, delivery.id, _UNSENT // SECOND, outcome.detail)
            await self._postpone(leased, _UNSENT)
            return None
        if isinstance(outcome, RequestFailed) and outcome.kind == BUSY:
            await self._postpone(leased, self._rules.timeout)
            return None
        return CompletedAttempt(leased, endpoint, outcome, started, duration, due)

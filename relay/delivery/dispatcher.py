"""Dispatching: leases due deliveries, sends them, records the results.

A delivery is leased, sent, then recorded: never marked before it is sent. A crash between leaves the lease to run out
(or to be given back at the next start), and the attempt is made again with the same webhook-id.
"""

import asyncio
import random
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count

from relay.config import DeliverySection
from relay.delivery import retry_policy
from relay.delivery.admission import SKIP_FOR, AdmissionControl, Admitted, Reservation, is_probe, min_interval
from relay.delivery.attempt import CompletedAttempt, HttpSender, send, span_attributes, to_attempt
from relay.delivery.recorder import ResultRecorder
from relay.egress.result import BUSY, UNSENT, RequestFailed
from relay.errors import StoreError
from relay.model import SECOND, Attempt, Delivery, DeliveryStatus, DueDelivery, Endpoint, Event, Instant, new_id
from relay.store.engine.database import Store, Tx
from relay.store.tables import due_deliveries, endpoints, outbox
from relay.store.tables.outbox import Lease, Leased, LeasedDelivery
from relay.telemetry import Telemetry

GRACE = 8 * SECOND
"""How long attempts under way may take when the relay stops: container engines kill after ten seconds, and the store
needs the last one."""

_SCAN_LIMIT = 256
"""Due deliveries that are read at once; if more are due, their endpoints take turns."""
_MIN_SCAN = 16

_REFILL = 4
"""Due deliveries are leased as soon as one in so many slots is free: many at once cost the store hardly more."""
_REFILL_AFTER = 20
"""Milliseconds after which fewer are leased too."""

_UNSENT = 5 * SECOND
"""How long a delivery waits that could not be sent for want of a file descriptor."""

_STARTS_PER_LOOP_TURN = 8
"""Attempts that begin in one turn of the loop: whatever else wants it waits for these, and not for hundreds."""

_PUT_OFF_TOGETHER = 500


class Dispatcher:
    """Sends what is due, to every host and endpoint its share."""

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
    ) -> None:
        """Ages count from `seen_since()` at the earliest: an older run may have stamped instants by a wrong clock."""
        self._store, self._egress, self._rules, self._clock = store, egress, rules, clock
        self._telemetry, self._owner, self._rng = telemetry, owner, rng
        self._admission = AdmissionControl(rules.concurrency, rules.per_host, rules.endpoint_concurrency)
        self._round_robin_cursor = ""
        self._attempts: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self._lease = rules.timeout * 2 + 10 * SECOND
        self._leases = count(1)
        self._recorder = ResultRecorder(
            store, rules, clock, telemetry, rng, self._admission, self._refill, self._lease, seen_since
        )
        self.caught_up_at = clock()
        """When all had been started that was due and that its endpoint could take."""

    def wake(self) -> None:
        """There may be something to send: `run` looks for it as soon as the loop is free."""
        self._woken.set()

    async def run(self) -> None:
        """Sends whatever is due whenever it is woken, until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                await self.tick()
            except StoreError as error:
                self._telemetry.log.error("nothing can be sent: %s", error)
            except Exception:  # one bad round must not end all sending
                self._telemetry.log.exception("nothing was sent in this round")

    async def tick(self) -> None:
        """Starts every attempt that is due and has a slot. Raises StoreError."""
        ends_met = 0
        while not self._stopping and self._admission.free > 0:
            now = self._clock()
            due, ends = await self._select_due(now)
            admitted = self._admission.admit(due, now)
            if admitted.next_slot_at is not None:
                self._wake_in(admitted.next_slot_at - now)
            if admitted:
                await self._lease_and_start(admitted)
                ends_met = 0
                continue
            ends_met += ends
            if ends_met > 1:  # a whole round that brought nothing, wherever it began
                self.caught_up_at = now
                return

    def reserve(self) -> Reservation:
        """Slots for what one transaction inserts: `outbox.enqueue` leases with it, its `start` begins the attempts."""
        return Reservation(self._admission, self._new_lease, self._start_all)

    async def idle(self) -> None:
        """Returns when no attempt is under way and all are written down."""
        while self._attempts or self._recorder.task is not None:
            await asyncio.wait([*self._attempts, *([self._recorder.task] if self._recorder.task else [])])

    async def stop(self, spent: int = 0) -> None:
        """Starts nothing more, gives attempts under way what is left of their grace after `spent` milliseconds, then
        gives the leases back."""
        self._stopping = True
        self._admission.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._attempts:
            _, late = await asyncio.wait(self._attempts, timeout=max(0, GRACE - spent) / 1_000)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._recorder.stop()
        now = self._clock()
        await self._store.write(lambda tx: outbox.release(tx, now, self._owner))

    async def send_test(self, endpoint: Endpoint, event: Event, body: bytes, now: Instant) -> Attempt:
        """Sends `body` now and once, outside the outbox. Returns the attempt; nothing is stored."""
        delivery = Delivery(
            id=new_id("dlv_test", now),
            event_id=event.id,
            event_type=event.type,
            workspace=event.workspace,
            job_id=event.job_id,
            endpoint_id=endpoint.id,
            registration_id=None,
            status=DeliveryStatus.PENDING,
            body=body,
            attempts=0,
            attempts_in_run=0,
            created_at=now,
            next_attempt_at=None,
        )
        outcome, took = await send(self._egress, endpoint, event.id, body, self._rules.timeout, now)
        claim = LeasedDelivery(delivery=delivery, host=endpoint.host, trigger="test", lease=self._new_lease())
        sent = CompletedAttempt(claim, outcome, now, took, endpoint.format)
        return to_attempt(sent, self._recorder.classify(sent, endpoint, now))

    async def _select_due(self, now: Instant) -> tuple[list[DueDelivery], int]:
        """Some of what is due, and how many ends of the queue were met: both if it is all that is due."""
        behind, (of_one, room) = self._round_robin_cursor, self._admission.to_scan()

        def select(tx: Tx) -> tuple[list[DueDelivery], str | None]:
            if not due_deliveries.has_at_least_due(tx, now, _SCAN_LIMIT):
                return due_deliveries.due(tx, now, _SCAN_LIMIT), None
            return due_deliveries.due_round_robin(tx, now, behind, of_one, min(_SCAN_LIMIT, 2 * room + _MIN_SCAN))

        due, met = await self._store.read(select)
        if met is None:
            return due, 2
        self._round_robin_cursor = met
        return due, 0 if met else 1

    async def _lease_and_start(self, admitted: Admitted) -> None:
        """Leases and starts what was admitted; what has to wait waits without being due."""
        unused = {due.id: due for due in admitted.start}
        try:
            leased, missed = await self._store.write(lambda tx: self._lease_due(tx, admitted))
            if missed:
                self._admission.skip([unused[id] for id in missed], self._clock())
                self._wake_in(SKIP_FOR)
            await self._start_all((claim, to, unused.pop(claim.delivery.id)) for claim, to in leased)
        finally:
            for due in unused.values():
                self._admission.cancel(due)

    async def _start_all(self, leased: Iterable[tuple[LeasedDelivery, Endpoint, DueDelivery]]) -> None:
        for number, (claim, endpoint, due) in enumerate(leased, 1):
            task = asyncio.create_task(self._deliver(claim, endpoint, due))
            self._attempts.add(task)
            task.add_done_callback(self._attempts.discard)
            if number % _STARTS_PER_LOOP_TURN == 0:
                await asyncio.sleep(0)

    def _lease_due(self, tx: Tx, admitted: Admitted) -> tuple[list[Leased], set[str]]:
        """What was leased, and the ids of what another relay holds or has taken."""
        now = self._clock()
        turns = {due.endpoint_id: at for due in admitted.start if (at := self._next_turn(due, now))}
        mine = endpoints.acquire_slots(tx, turns, now) if turns else set()
        ids = [due.id for due in admitted.start if due.endpoint_id in mine or due.endpoint_id not in turns]
        claims = outbox.lease(tx, ids, now, self._new_lease())
        wanted = {claim.delivery.endpoint_id for claim in claims}
        known = endpoints.get_many(tx, wanted) if wanted else {}
        endpoints.release_slots(tx, mine - wanted)
        for id in admitted.disabled:
            outbox.hold_for_disabled(tx, id, now, _PUT_OFF_TOGETHER)
        for id, until in admitted.paused.items():
            later = partial(self._after, until, retry_policy.jitter_window(until - now))
            outbox.postpone(tx, id, now, until, later, _PUT_OFF_TOGETHER)
        leased = [(claim, known[to]) for claim in claims if (to := claim.delivery.endpoint_id) in known]
        return leased, set(ids) - {claim.delivery.id for claim in claims}

    def _new_lease(self) -> Lease:
        return Lease(f"{self._owner}.{next(self._leases)}", self._clock() + self._lease)

    def _next_turn(self, due: DueDelivery, now: Instant) -> Instant | None:
        """When the next attempt may begin at an endpoint that relays call in turn; a probe's end makes it sooner."""
        if is_probe(due):
            return now + self._rules.timeout + SECOND
        interval = min_interval(due)
        return now + interval if interval else None

    def _after(self, until: Instant, width: int) -> Instant:
        return until + round(self._rng.random() * width)

    def _wake_in(self, ms: int) -> None:
        """Checks again then, unless it will sooner: the scheduler is too slow for what a rate lets go."""
        loop = asyncio.get_running_loop()
        at = loop.time() + ms / 1_000
        if self._timer is not None and loop.time() < self._timer.when() <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(at, self.wake)

    def _refill(self) -> None:
        """Slots were freed, or results recorded: there may be more to lease."""
        if self._admission.free * _REFILL >= self._rules.concurrency:
            self.wake()
        else:
            self._wake_in(_REFILL_AFTER)

    async def _deliver(self, claim: LeasedDelivery, endpoint: Endpoint, due: DueDelivery) -> None:
        """Makes one attempt, and has its result recorded."""
        sent = None
        try:
            if self._may_begin(claim):
                sent = await self._attempt(claim, endpoint, due)
        finally:
            if sent is None:
                self._admission.cancel(due)
            elif sent.probe is None:
                self._admission.release(due)
        if sent is not None:
            await self._recorder.put(sent)
        self._refill()

    def _may_begin(self, claim: LeasedDelivery) -> bool:
        """Whether the attempt ends before its lease does; if not, the lease runs out, and there is another."""
        return not self._stopping and claim.lease.until - self._clock() > self._rules.timeout

    async def _postpone(self, claim: LeasedDelivery, wait: int) -> None:
        """Gives the lease back: the delivery is due again in `wait` milliseconds."""
        due_at = self._clock() + wait
        try:
            await self._store.write(lambda tx: outbox.release_one(tx, claim.delivery.id, due_at, claim.lease))
        except StoreError as error:
            text = "the lease of delivery %s can't be given back, it runs out by itself: %s"
            self._telemetry.log.error(text, claim.delivery.id, error)

    async def _attempt(self, claim: LeasedDelivery, endpoint: Endpoint, due: DueDelivery) -> CompletedAttempt | None:
        """None if the attempt could not begin through the relay's own trouble: nothing is to be counted."""
        delivery, started = claim.delivery, self._clock()
        try:
            with self._telemetry.attempt_span(delivery, endpoint) as span:
                outcome, took = await send(
                    self._egress,
                    endpoint,
                    delivery.event_id,
                    delivery.body,
                    self._rules.timeout,
                    started,
                    span.traceparent,
                    None if due.is_proven else self._rules.per_host,
                )
                span.set_attributes(span_attributes(outcome))
        except Exception as error:  # a fault of ours is a failed attempt like any other: seen, and tried again
            self._telemetry.log.exception("%s could not be sent", delivery.id)
            outcome, took = RequestFailed("internal", f"the relay failed to send it: {type(error).__name__}"), 0
        if isinstance(outcome, RequestFailed) and outcome.kind == UNSENT:
            self._telemetry.log.error("%s is put off: %s", delivery.id, outcome.detail)
            await self._postpone(claim, _UNSENT)
            return None
        if isinstance(outcome, RequestFailed) and outcome.kind == BUSY:
            await self._postpone(claim, self._rules.timeout)
            return None
        name = endpoint.name or endpoint.id
        return CompletedAttempt(claim, outcome, started, took, endpoint.format, due, endpoint=name)

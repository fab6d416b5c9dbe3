"""Dispatching: leases due deliveries, sends them, settles what came.

A delivery is leased, sent, then settled: never marked before it is sent. A crash between leaves the lease to run out
(or to be given back at the next start), and the attempt is made again with the same webhook-id.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from relay import delivering
from relay.config import DeliveryRules
from relay.dispatcher.attempts import Sent, Wire, attempt_of, send, told
from relay.dispatcher.lanes import Lanes
from relay.dispatcher.settling import Settler
from relay.errors import StoreError
from relay.model import SECOND, Attempt, Delivery, DeliveryStatus, Endpoint, Event, Instant, new_id
from relay.outcome import UNSENT, NoAnswer
from relay.store import endpoints, outbox, waiting
from relay.store.database import Store, Tx
from relay.store.outbox import Claim
from relay.telemetry import Telemetry
from relay.turns import Chosen, Due, Traffic

GRACE = 8 * SECOND
"""How long attempts under way may take when the relay stops: container engines kill after ten seconds, and the store
needs the last one."""

_LOOKED_AT = 256
"""Due deliveries that are looked at at once; where more are due, their endpoints take turns."""
_LEAST_LOOKED_AT = 16
_MOST_AHEAD = 200
"""Deliveries that are claimed beyond those on the wire: a round through the store costs little more for many."""

FRESH = SECOND
"""How long what was claimed may wait for its turn; after that its endpoint may be another, and it is claimed anew."""

_UNSENT = 5 * SECOND
"""How long a delivery waits that could not be sent for want of a file descriptor."""

_STARTED_TOGETHER = 8
"""Attempts that begin in one turn of the loop: whatever else wants it waits for these, and not for hundreds."""

_PUT_OFF_TOGETHER = 500


class Dispatcher:
    """Sends what is due, to every host and endpoint its share."""

    def __init__(
        self,
        store: Store,
        egress: Wire,
        rules: DeliveryRules,
        clock: Callable[[], Instant],
        telemetry: Telemetry,
        owner: str,
        rng: random.Random,
        given_back: Callable[[], None] = lambda: None,
    ) -> None:
        """`given_back` is called when something is due that this relay has no room for."""
        self._given_back = given_back
        self._store, self._egress, self._rules, self._clock = store, egress, rules, clock
        self._telemetry, self._owner, self._rng = telemetry, owner, rng
        limits = rules.concurrency, rules.per_host, rules.at_one_endpoint
        self._ahead = min(2 * rules.concurrency, _MOST_AHEAD)
        self._traffic, self._lanes = Traffic(*limits, self._ahead), Lanes(*limits)
        self._behind = ""
        self._attempts: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self._stopping = False
        self._lease = rules.timeout * 2 + 10 * SECOND
        self._settler = Settler(store, rules, clock, telemetry, owner, rng, self._traffic, self.wake, self._lease)
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
        """Starts every attempt that is due and for which there is room. Raises StoreError."""
        seen_all = 0
        while not self._stopping and self._traffic.free > 0:
            now = self._clock()
            found, ends = await self._find(now)
            chosen = self._traffic.choose(found, now)
            if chosen.next_slot is not None:
                self._wake_in(chosen.next_slot - now)
            if chosen:
                await self._take(chosen, now)
                seen_all = 0
                continue
            seen_all += ends
            if seen_all > 1:  # a whole round that brought nothing, wherever it began
                self.caught_up_at = now
                return

    def seize(self, tx: Tx, events: Sequence[Event], now: Instant) -> Callable[[], Awaitable[None]]:
        """Leases deliveries of `events` in the transaction that makes them, as far as there seems to be room at once.

        What it returns starts them, and goes on as the first: it is to be called once they are committed. Two rounds
        through the store are saved, and some turns of the loop.
        """
        free = max(0, 0 if self._stopping else self._traffic.free_urgently)
        found = [one for event in events for one in waiting.due_of(tx, event.id, now, free) if one.may_begin]
        due = {one.id: replace(one, urgent=True) for one in found}
        claims, known = self._leased(tx, list(due)[:free], now)
        return partial(self._start_seized, [(claim, due[claim.delivery.id]) for claim in claims], known, now)

    async def _start_seized(
        self, seized: Sequence[tuple[Claim, Due]], known: Mapping[str, Endpoint], now: Instant
    ) -> None:
        """Starts those for which there is room still; the others are due again. Goes on as the first of them."""
        if self._stopping:
            return  # all leases are given back
        room = {due.id for due in self._traffic.choose([due for _, due in seized], now).start}
        works = [
            self._deliver(claim, known[claim.delivery.endpoint_id], due, now)
            if due.id in room
            else self._give_back(claim)
            for claim, due in seized
        ]
        for work in works[1:]:
            self._keep(work)
        if works and (task := asyncio.current_task()) is not None:
            self._attempts.add(task)
            try:
                await works[0]
            finally:
                self._attempts.discard(task)

    async def idle(self) -> None:
        """Returns when no attempt is under way and all are written down."""
        while self._attempts or self._settler.task is not None:
            await asyncio.wait([*self._attempts, *([self._settler.task] if self._settler.task else [])])

    async def stop(self, spent: int = 0) -> None:
        """Starts nothing more, gives attempts under way what is left of their grace after `spent` milliseconds, then
        gives the leases back."""
        self._stopping = True
        if self._alarm is not None:
            self._alarm.cancel()
        if self._attempts:
            _, late = await asyncio.wait(self._attempts, timeout=max(0, GRACE - spent) / 1_000)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._settler.stop()
        now = self._clock()
        await self._store.write(lambda tx: outbox.release(tx, now, self._owner))

    async def try_once(self, endpoint: Endpoint, event: Event, body: bytes, now: Instant) -> Attempt:
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
            tries=0,
            created_at=now,
            next_attempt_at=None,
        )
        outcome, took = await send(self._egress, endpoint, event.id, body, self._rules.timeout, now)
        claim = Claim(delivery=delivery, host=endpoint.host, trigger="test")
        sent = Sent(claim, outcome, now, took, endpoint.format)
        return attempt_of(sent, self._settler.judge(sent, endpoint, now))

    async def _find(self, now: Instant) -> tuple[list[Due], int]:
        """Some of what is due, and how many ends of the queue were met: both where it is all that is due."""
        behind, each, room = self._behind, self._traffic.most_of_one, self._traffic.free

        def look(tx: Tx) -> tuple[list[Due], str | None]:
            if not waiting.are_due(tx, now, _LOOKED_AT):
                return waiting.due(tx, now, _LOOKED_AT), None
            return waiting.due_in_turn(tx, now, behind, each, min(_LOOKED_AT, 2 * room + _LEAST_LOOKED_AT))

        found, met = await self._store.read(look)
        if met is None:
            return found, 2
        self._behind = met
        return found, 0 if met else 1

    async def _take(self, chosen: Chosen, now: Instant) -> None:
        """Leases and starts what was chosen; what has to wait waits without being due."""
        waiting, started = {due.id: due for due in chosen.start}, 0
        try:
            claims, known = await self._store.write(lambda tx: self._claim(tx, chosen, now))
            for claim in claims:
                if (endpoint := known.get(claim.delivery.endpoint_id)) is not None:
                    self._keep(self._deliver(claim, endpoint, waiting.pop(claim.delivery.id), now))
                    if (started := started + 1) % _STARTED_TOGETHER == 0:
                        await asyncio.sleep(0)
        finally:
            for due in waiting.values():  # taken by another relay, or gone
                self._traffic.ended(due)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._attempts.add(task)
        task.add_done_callback(self._attempts.discard)

    def _claim(self, tx: Tx, chosen: Chosen, now: Instant) -> tuple[list[Claim], dict[str, Endpoint]]:
        """What was leased, and the endpoints it goes to."""
        turns = {due.endpoint_id: at for due in chosen.start if (at := self._next_turn(due, now))}
        mine = endpoints.take_turns(tx, turns, now) if turns else set()
        ids = [due.id for due in chosen.start if due.endpoint_id in mine or due.endpoint_id not in turns]
        claims, known = self._leased(tx, ids, now)
        endpoints.end_turns(tx, mine - {claim.delivery.endpoint_id for claim in claims})
        for id in chosen.deaf:
            outbox.hold(tx, id, now, _PUT_OFF_TOGETHER)
        for id, until in chosen.paused.items():
            later = partial(self._after, until, delivering.spread(until - now))
            outbox.put_off(tx, id, now, until, later, _PUT_OFF_TOGETHER)
        return claims, known

    def _leased(self, tx: Tx, ids: Sequence[str], now: Instant) -> tuple[list[Claim], dict[str, Endpoint]]:
        """Those of the deliveries that are this relay's from now on, and the endpoints they go to."""
        claims = outbox.lease(tx, ids, now, now + self._lease, self._owner)
        wanted = {claim.delivery.endpoint_id for claim in claims}
        return claims, endpoints.many(tx, wanted) if wanted else {}

    def _next_turn(self, due: Due, now: Instant) -> Instant | None:
        """When the next attempt may begin at an endpoint that relays call in turn; a probe's end makes it sooner."""
        if due.needs_probe:
            return now + self._rules.timeout + SECOND
        return now + due.gap if due.gap else None

    def _after(self, until: Instant, width: int) -> Instant:
        return until + round(self._rng.random() * width)

    def _wake_in(self, ms: int) -> None:
        """Looks again then, unless it will sooner: the metronome is too slow for what a rate lets go."""
        loop = asyncio.get_running_loop()
        at = loop.time() + ms / 1_000
        if self._alarm is not None and loop.time() < self._alarm.when() <= at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = loop.call_at(at, self.wake)

    async def _deliver(self, claim: Claim, endpoint: Endpoint, due: Due, claimed_at: Instant) -> None:
        """Makes one attempt when its turn comes, and has it written down."""
        sent = None
        try:
            if not await self._lanes.enter(due, FRESH / SECOND):
                self._traffic.waited_in_vain()
                await self._give_back(claim)
            else:
                try:
                    sent = await self._attempt_if_fresh(claim, endpoint, due, claimed_at)
                finally:
                    self._lanes.leave(due)
        finally:
            if sent is None or sent.probe is None:
                self._traffic.ended(due)
        if sent is not None:
            await self._settler.put(sent)
        if not self._lanes.waiting or self._traffic.free >= self._ahead // 2:
            self.wake()

    async def _attempt_if_fresh(self, claim: Claim, endpoint: Endpoint, due: Due, claimed_at: Instant) -> Sent | None:
        if self._stopping:
            return None
        if self._clock() - claimed_at > FRESH:
            self._traffic.waited_in_vain()
            await self._give_back(claim)
            return None
        return await self._attempt(claim, endpoint, due)

    async def _give_back(self, claim: Claim, wait: int = 0) -> None:
        """What does not begin here is due again, for whoever is free, after `wait` milliseconds."""
        due_at = self._clock() + wait
        try:
            await self._store.write(lambda tx: outbox.give_back(tx, claim.delivery.id, due_at, self._owner))
        except StoreError as error:  # the lease runs out
            self._telemetry.log.error("%s can't be given back: %s", claim.delivery.id, error)
        else:
            self._given_back()

    async def _attempt(self, claim: Claim, endpoint: Endpoint, due: Due) -> Sent | None:
        """None if the attempt could not begin through the relay's own trouble: nothing is to be counted."""
        delivery, started = claim.delivery, self._clock()
        try:
            with self._telemetry.attempting(delivery, endpoint) as span:
                outcome, took = await send(
                    self._egress,
                    endpoint,
                    delivery.event_id,
                    delivery.body,
                    self._rules.timeout,
                    started,
                    span.traceparent,
                )
                span.tell(told(outcome))
        except Exception as error:  # a fault of ours is a failed attempt like any other: seen, and tried again
            self._telemetry.log.exception("%s could not be sent", delivery.id)
            outcome, took = NoAnswer("internal", f"the relay failed to send it: {type(error).__name__}"), 0
        if isinstance(outcome, NoAnswer) and outcome.kind == UNSENT:
            self._telemetry.log.error("%s is put off: %s", delivery.id, outcome.detail)
            await self._give_back(claim, _UNSENT)
            return None
        probe = due if due.needs_probe else None
        return Sent(claim, outcome, started, took, endpoint.format, probe)

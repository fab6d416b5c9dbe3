"""Dispatching: leases due deliveries, sends them, settles what came.

A delivery is leased, sent, then settled: never marked before it is sent. A crash between leaves the lease to run out
(or to be given back at the next start), and the attempt is made again with the same webhook-id.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from relay import __version__, delivering, formats, signing
from relay.config import DeliveryRules
from relay.delivering import Verdict
from relay.egress import Egress
from relay.errors import StoreError
from relay.model import SECOND, Attempt, Delivery, DeliveryStatus, Endpoint, Event, Instant, new_id
from relay.outcome import Answer, NoAnswer, Outcome
from relay.store import endpoints, outbox
from relay.store.database import Store, Tx
from relay.store.outbox import Claim, Settlement
from relay.telemetry import Telemetry

USER_AGENT = f"exec-relay/{__version__}"
RESPONSE_KEPT = 4_096
"""Bytes of an answer that the attempt log keeps."""

GRACE = 8 * SECOND
"""How long attempts under way may take when the relay stops: container engines kill after ten seconds."""

_SETTLED_TOGETHER = 200
_SPREAD = 0.2
"""What waited for an endpoint comes back over this part of the wait, not as a herd."""


@dataclass(frozen=True, slots=True)
class Sent:
    """An attempt that was made and is not yet written down."""

    claim: Claim
    outcome: Outcome
    started_at: Instant
    duration_ms: int


async def send(
    egress: Egress, endpoint: Endpoint, webhook_id: str, body: bytes, timeout: int, now: Instant
) -> tuple[Outcome, int]:
    """Makes one signed attempt. Returns what came and how long it took, in milliseconds."""
    signed = signing.headers(webhook_id, body, endpoint.secrets, now)
    headers = {**endpoint.headers, "content-type": "application/json", "user-agent": USER_AGENT, **signed}
    return await egress.post(endpoint.url, headers, body, timeout)


def attempt_of(sent: Sent, verdict: Verdict) -> Attempt:
    """The log entry of an attempt."""
    answer = sent.outcome if isinstance(sent.outcome, Answer) else None
    return Attempt(
        id=new_id("att", sent.started_at),
        delivery_id=sent.claim.delivery.id,
        number=sent.claim.delivery.attempts + 1,
        trigger=sent.claim.trigger,
        started_at=sent.started_at,
        duration_ms=sent.duration_ms,
        status_code=answer.status if answer else None,
        outcome=verdict.outcome,
        error=_storable(verdict.error) if verdict.error else None,
        response=_storable(answer.body[:RESPONSE_KEPT].decode("utf-8", "replace")) if answer else "",
    )


def _storable(text: str) -> str:
    """The text without NUL characters, which PostgreSQL does not keep."""
    return text.replace("\x00", "\ufffd")


class Dispatcher:
    """Sends what is due, to every host its share."""

    def __init__(
        self,
        store: Store,
        egress: Egress,
        rules: DeliveryRules,
        clock: Callable[[], Instant],
        telemetry: Telemetry,
        owner: str,
        rng: random.Random,
    ) -> None:
        self._store, self._egress, self._rules, self._clock = store, egress, rules, clock
        self._telemetry, self._owner, self._rng = telemetry, owner, rng
        self._attempts: set[asyncio.Task[None]] = set()
        self._at_host: Counter[str] = Counter()
        self._last_started: dict[str, Instant] = {}
        self._probing: set[str] = set()
        self._sent: asyncio.Queue[Sent] = asyncio.Queue(rules.concurrency * 4)
        self._settler: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._stopping = False
        self._lease = rules.timeout * 2 + 10 * SECOND

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
        while await self._claim_some():
            pass

    async def idle(self) -> None:
        """Returns when no attempt is under way and all are written down."""
        while self._attempts or self._settler is not None:
            await asyncio.wait([*self._attempts, *([self._settler] if self._settler else [])])

    async def stop(self) -> None:
        """Starts nothing more, gives attempts under way their grace, then gives the leases back."""
        self._stopping = True
        if self._attempts:
            _, late = await asyncio.wait(self._attempts, timeout=GRACE / 1_000)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._settler is not None:
            await asyncio.wait([self._settler], timeout=1)
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
        sent = Sent(Claim(delivery=delivery, host=endpoint.host, trigger="test"), outcome, now, took)
        return attempt_of(sent, self._judge(sent, endpoint, now))

    async def _claim_some(self) -> bool:
        """Claims once and starts what may go. False where nothing more can be started now."""
        free = self._rules.concurrency - len(self._attempts)
        now = self._clock()
        if free <= 0 or self._stopping:
            return False
        due = await self._store.read(outbox.next_due)
        if due is None or due > now:
            return False
        room = {host: self._rules.per_host - count for host, count in self._at_host.items()}
        until = now + self._lease
        claims = await self._store.write(
            lambda tx: outbox.claim(tx, now, free, self._rules.per_host, room, until, self._owner)
        )
        if not claims:
            return False
        wanted = {claim.delivery.endpoint_id for claim in claims}
        known = await self._store.read(lambda tx: endpoints.many(tx, wanted))
        await self._sort_out(claims, known, now)
        return True

    async def _sort_out(self, claims: Sequence[Claim], known: dict[str, Endpoint], now: Instant) -> None:
        """Starts what may go now; puts off what waits for its endpoint; holds what its endpoint does not want."""
        later: dict[str, Instant] = {}
        held: list[str] = []
        queued: Counter[str] = Counter()
        for claim in claims:
            endpoint = known.get(claim.delivery.endpoint_id)
            if endpoint is None or not endpoint.enabled:
                held.append(claim.delivery.id)
                continue
            wait = self._wait(endpoint, now, queued[endpoint.id])
            if wait > 0:
                queued[endpoint.id] += 1
                later[claim.delivery.id] = now + wait
            else:
                self._start(claim, endpoint, now)
        if later or held:
            await self._store.write(lambda tx: _give_back(tx, later, held))
        if later:
            delay = max(0, min(later.values()) - now) / 1_000
            if delay < 1:  # the metronome is too slow for this
                asyncio.get_running_loop().call_later(delay, self.wake)

    def _wait(self, endpoint: Endpoint, now: Instant, ahead: int) -> int:
        """Milliseconds that a delivery of this endpoint has to wait, with so many waiting before it; 0 to go now."""
        if endpoint.paused_until is not None and endpoint.paused_until > now:
            pause = endpoint.paused_until - now
            return pause + round(self._rng.random() * max(pause * _SPREAD, SECOND))
        if delivering.needs_probe(endpoint) and endpoint.id in self._probing:
            return 5 * SECOND + round(self._rng.random() * 5 * SECOND)
        rate = formats.rate(endpoint.format)
        if rate is None:
            return 0
        gap = round(SECOND / rate)
        slot = self._last_started.get(endpoint.id, now - gap) + gap
        return max(0, slot - now) + ahead * gap

    def _start(self, claim: Claim, endpoint: Endpoint, now: Instant) -> None:
        self._at_host[claim.host] += 1
        if formats.rate(endpoint.format) is not None:
            self._last_started[endpoint.id] = now
        if delivering.needs_probe(endpoint):
            self._probing.add(endpoint.id)
        task = asyncio.create_task(self._attempt(claim, endpoint))
        self._attempts.add(task)
        task.add_done_callback(self._attempts.discard)

    async def _attempt(self, claim: Claim, endpoint: Endpoint) -> None:
        delivery, started = claim.delivery, self._clock()
        try:
            outcome, took = await send(
                self._egress, endpoint, delivery.event_id, delivery.body, self._rules.timeout, started
            )
        except Exception as error:  # a fault of ours is a failed attempt like any other: seen, and tried again
            self._telemetry.log.exception("%s could not be sent", delivery.id)
            outcome, took = NoAnswer("internal", f"the relay failed to send it: {type(error).__name__}"), 0
        finally:
            self._at_host[claim.host] -= 1
            if self._at_host[claim.host] <= 0:
                del self._at_host[claim.host]
            self._probing.discard(endpoint.id)
        await self._sent.put(Sent(claim, outcome, started, took))
        if self._settler is None:
            self._settler = asyncio.create_task(self._settle_all())
        self.wake()

    async def _settle_all(self) -> None:
        """Writes down all that was sent, together with whatever else was sent meanwhile."""
        try:
            while not self._sent.empty():
                batch = [self._sent.get_nowait()]
                while len(batch) < _SETTLED_TOGETHER and not self._sent.empty():
                    batch.append(self._sent.get_nowait())
                await self._settle(batch)
        except Exception:  # the leases run out, and the attempts are made again
            self._telemetry.log.exception("attempts could not be written down")
        finally:
            self._settler = None

    async def _settle(self, batch: Sequence[Sent]) -> None:
        """Writes a batch down, trying again while the store fails and the leases hold."""
        for _ in range(self._lease // SECOND):
            try:
                judged = await self._store.write(lambda tx: self._write_down(tx, batch))
            except StoreError as error:
                self._telemetry.log.error("attempts can't be written down, trying again: %s", error)
                if self._stopping:
                    return
                await asyncio.sleep(1)
                continue
            for sent, verdict in judged:
                self._telemetry.attempted(sent.claim.delivery, verdict.outcome, sent.duration_ms, self._clock())
            self.wake()
            return

    def _write_down(self, tx: Tx, batch: Sequence[Sent]) -> list[tuple[Sent, Verdict]]:
        """Judges each attempt, then writes deliveries, attempts and the health of the endpoints."""
        now = self._clock()
        known = endpoints.many(tx, {sent.claim.delivery.endpoint_id for sent in batch})
        before = dict(known)
        judged = []
        for sent in batch:
            endpoint = known.get(sent.claim.delivery.endpoint_id)
            verdict = self._judge(sent, endpoint, now)
            judged.append((sent, verdict))
            if endpoint is not None:
                after = self._rules.disable_after
                known[endpoint.id] = delivering.health_after(endpoint, verdict, now, after, self._rng.random())
        outbox.settle(tx, [_settlement(sent, verdict, now) for sent, verdict in judged], self._owner)
        for id, endpoint in known.items():
            if endpoint != before[id]:
                endpoints.save_health(tx, endpoint)
        return judged

    def _judge(self, sent: Sent, endpoint: Endpoint | None, now: Instant) -> Verdict:
        format = endpoint.format if endpoint else "standard"
        tries = sent.claim.delivery.tries + 1
        return delivering.judge(sent.outcome, format, tries, self._rules.schedule, now, self._rng.random())


def _settlement(sent: Sent, verdict: Verdict, now: Instant) -> Settlement:
    return Settlement(
        delivery_id=sent.claim.delivery.id,
        status=verdict.status,
        tries=sent.claim.delivery.tries + 1,
        next_attempt_at=verdict.next_attempt_at,
        ended_at=None if verdict.status is DeliveryStatus.PENDING else now,
        reason=verdict.error if verdict.status is DeliveryStatus.FAILED else None,
        attempt=attempt_of(sent, verdict),
    )


def _give_back(tx: Tx, later: dict[str, Instant], held: Sequence[str]) -> None:
    outbox.postpone(tx, later)
    outbox.hold(tx, held)

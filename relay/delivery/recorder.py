"""Settling: what came of attempts is judged and written down, with whatever else came meanwhile."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from relay.config import DeliverySection
from relay.delivery import retry_policy
from relay.delivery.admission import AdmissionControl
from relay.delivery.attempt import CompletedAttempt, to_delivery_update, without_response_text
from relay.delivery.retry_policy import AttemptDecision
from relay.egress.result import RequestFailed, SendResult
from relay.errors import ConstraintViolation, StoreError
from relay.model import SECOND, Endpoint, Instant
from relay.store.engine.database import Store, Tx
from relay.store.tables import endpoints, outbox
from relay.telemetry import Telemetry

_BATCH = 200


class ResultRecorder:
    """Writes down what was sent; `settled` is called whenever something was."""

    def __init__(
        self,
        store: Store,
        rules: DeliverySection,
        clock: Callable[[], Instant],
        telemetry: Telemetry,
        rng: random.Random,
        admission: AdmissionControl,
        settled: Callable[[], None],
        lease: int,
        seen_since: Callable[[], Instant] = lambda: 0,
    ) -> None:
        self._store, self._rules, self._clock, self._telemetry = store, rules, clock, telemetry
        self._rng, self._admission, self._settled = rng, admission, settled
        self._seen_since = seen_since
        self._tries = max(1, lease // SECOND)
        self._sent: asyncio.Queue[CompletedAttempt] = asyncio.Queue(rules.concurrency * 4)
        self._warned: set[str] = set()
        self._stopping = False
        self.task: asyncio.Task[None] | None = None
        """Runs while there is something to write down."""

    async def put(self, sent: CompletedAttempt) -> None:
        """Takes over an attempt that was made; waits where too many are not written down yet."""
        await self._sent.put(sent)
        if self.task is None:
            self.task = asyncio.create_task(self._drain())

    async def stop(self) -> None:
        """No more patience with a store that fails."""
        self._stopping = True
        if self.task is not None:
            await asyncio.wait([self.task], timeout=1)

    def classify(self, sent: CompletedAttempt, endpoint: Endpoint | None, now: Instant) -> AttemptDecision:
        """What the attempt means. A fault of ours in judging an answer counts as a failed attempt: it never repeats."""
        try:
            verdict = self._judge(sent, sent.outcome, endpoint, now)
            return without_response_text(verdict) if sent.discard_response else verdict
        except Exception as error:
            self._telemetry.log.exception("what %s brought could not be judged", sent.claim.delivery.id)
            fault = RequestFailed("internal", f"the relay failed to judge the answer: {type(error).__name__}")
            return self._judge(sent, fault, endpoint, now)

    def _judge(
        self, sent: CompletedAttempt, outcome: SendResult, endpoint: Endpoint | None, now: Instant
    ) -> AttemptDecision:
        format = endpoint.format if endpoint else "standard"
        tries = sent.claim.delivery.attempts_in_run + 1
        return retry_policy.classify_attempt(outcome, format, tries, self._rules.schedule, now, self._rng.random())

    async def _drain(self) -> None:
        """Writes down all that was sent, together with whatever else was sent meanwhile."""
        try:
            while not self._sent.empty():
                batch = [self._sent.get_nowait()]
                while len(batch) < _BATCH and not self._sent.empty():
                    batch.append(self._sent.get_nowait())
                try:
                    await self._settle(batch)
                finally:
                    for sent in batch:
                        if sent.probe is not None:
                            self._admission.release(sent.probe)
                        if sent.due is not None:
                            self._admission.recorded(sent.due)
                    self._settled()
        finally:
            self.task = None

    async def _settle(self, batch: Sequence[CompletedAttempt]) -> None:
        """Writes a batch down; where one of it is at fault, each by itself, so that the others are not sent again."""
        try:
            await self._write(batch)
        except Exception:
            if len(batch) > 1:
                for sent in batch:
                    await self._settle([sent])
            elif not batch[
                0
            ].discard_response:  # it counts all the same: an attempt that is not counted is made for ever
                self._telemetry.log.exception("what came of %s is not to be kept", batch[0].claim.delivery.id)
                await self._settle([replace(batch[0], discard_response=True)])
            else:  # the lease runs out, and the attempt is made again
                self._telemetry.log.exception("an attempt of %s was not written down", batch[0].claim.delivery.id)

    async def _write(self, batch: Sequence[CompletedAttempt]) -> None:
        """Writes a batch down, trying again while the store fails and the leases hold. Raises what no trying mends."""
        for _ in range(self._tries):
            try:
                judged, changed = await self._store.write(lambda tx: self._record_batch(tx, batch))
            except ConstraintViolation:
                raise
            except StoreError as error:
                self._telemetry.log.error("attempts can't be written down, trying again: %s", error)
                if self._stopping:
                    return
                await asyncio.sleep(1)
                continue
            for sent, verdict in judged:
                self._report(sent, verdict)
            for before, after in changed:
                self._warn(before, after)
            return

    def _report(self, sent: CompletedAttempt, verdict: AttemptDecision) -> None:
        delivery, delivered = sent.claim.delivery, verdict.outcome == "delivered"
        self._telemetry.attempt_done(delivery, sent.format, verdict.outcome, sent.duration_ms, self._clock())
        self._admission.record_result(delivery.endpoint_id, delivered)

    def _record_batch(
        self, tx: Tx, batch: Sequence[CompletedAttempt]
    ) -> tuple[list[tuple[CompletedAttempt, AttemptDecision]], list[tuple[Endpoint, Endpoint]]]:
        """Judges each attempt, then writes deliveries, attempts and the health of the endpoints.

        Returns the verdicts, and each endpoint whose health changed as it was and as it is.
        """
        now = self._clock()
        known = endpoints.lock_many(tx, {sent.claim.delivery.endpoint_id for sent in batch})
        before = dict(known)
        judged = []
        for sent in batch:
            endpoint = known.get(sent.claim.delivery.endpoint_id)
            verdict = self.classify(sent, endpoint, now)
            judged.append((sent, verdict))
            if endpoint is not None:
                after, jitter, since = self._rules.disable_after, self._rng.random(), self._seen_since()
                known[endpoint.id] = retry_policy.update_health(endpoint, verdict, now, after, jitter, since)
        outbox.record_results(tx, [to_delivery_update(sent, verdict, now) for sent, verdict in judged])
        endpoints.release_slots(tx, {sent.probe.endpoint_id for sent in batch if sent.probe is not None})
        changed = [(before[id], after) for id, after in known.items() if after != before[id]]
        for _, endpoint in changed:
            endpoints.save_health(tx, endpoint)
        return judged, changed

    def _warn(self, before: Endpoint, after: Endpoint) -> None:
        """Tells the operator once of an endpoint that is to be disabled, and once when it is."""
        warning = retry_policy.health_warning(before, after, self._clock(), self._rules.disable_after)
        if warning is None or not after.enabled:
            self._warned.discard(after.id)
        if warning is not None and after.id not in self._warned:
            self._telemetry.endpoint_warning(after, warning)
            if after.enabled:
                self._warned.add(after.id)

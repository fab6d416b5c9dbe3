"""Recording: the results of attempts are judged and stored, many in one transaction."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from relay.config import DeliverySection
from relay.delivery import endpoint_health, retry_policy
from relay.delivery.admission import AdmissionControl
from relay.delivery.attempt import CompletedAttempt, attempt_summary, to_delivery_update, without_response_text
from relay.delivery.retry_policy import AttemptDecision
from relay.egress.result import RequestFailed, SendResult
from relay.errors import ConstraintViolation, StoreError
from relay.model import SECOND, DeliveryStatus, Endpoint, Instant
from relay.store.engine.database import Store, Tx
from relay.store.tables import endpoints, outbox
from relay.telemetry import Telemetry

_BATCH = 200


class ResultRecorder:
    """Stores the results of attempts; calls `recorded` after each batch."""

    def __init__(
        self,
        store: Store,
        rules: DeliverySection,
        clock: Callable[[], Instant],
        telemetry: Telemetry,
        rng: random.Random,
        admission: AdmissionControl,
        recorded: Callable[[], None],
        lease: int,
        seen_since: Callable[[], Instant] = lambda: 0,
    ) -> None:
        self._store, self._rules, self._clock, self._telemetry = store, rules, clock, telemetry
        self._rng, self._admission, self._recorded = rng, admission, recorded
        self._seen_since = seen_since
        self._tries = max(1, lease // SECOND)
        self._sent: asyncio.Queue[CompletedAttempt] = asyncio.Queue(rules.concurrency * 4)
        self._warned: set[str] = set()
        self._stopping = False
        self.task: asyncio.Task[None] | None = None
        """Runs while there are results to store."""

    async def put(self, sent: CompletedAttempt) -> None:
        """Takes over a completed attempt; waits if too many are not stored yet."""
        await self._sent.put(sent)
        if self.task is None:
            self.task = asyncio.create_task(self._drain())

    async def stop(self) -> None:
        """Waits a second for the store at most: leases that are still held run out by themselves."""
        self._stopping = True
        if self.task is not None:
            await asyncio.wait([self.task], timeout=1)

    def classify(self, sent: CompletedAttempt, endpoint: Endpoint | None, now: Instant) -> AttemptDecision:
        """The decision about an attempt. If judging the answer fails, the attempt counts as failed: never raises."""
        try:
            decision = self._judge(sent, sent.outcome, endpoint, now)
            return without_response_text(decision) if sent.discard_response else decision
        except Exception as error:
            text = "the answer to delivery %s could not be judged; the attempt counts as failed"
            self._telemetry.log.exception(text, sent.claim.delivery.id)
            fault = RequestFailed("internal", f"the relay failed to judge the answer: {type(error).__name__}")
            return self._judge(sent, fault, endpoint, now)

    def _judge(
        self, sent: CompletedAttempt, outcome: SendResult, endpoint: Endpoint | None, now: Instant
    ) -> AttemptDecision:
        format, template = (endpoint.format, endpoint.template) if endpoint else ("standard", None)
        tries, jitter = sent.claim.delivery.attempts_in_run + 1, self._rng.random()
        return retry_policy.classify_attempt(outcome, format, tries, self._rules.schedule, now, jitter, template)

    async def _drain(self) -> None:
        """Stores all results, each batch together with those that arrived meanwhile."""
        try:
            while not self._sent.empty():
                batch = [self._sent.get_nowait()]
                while len(batch) < _BATCH and not self._sent.empty():
                    batch.append(self._sent.get_nowait())
                try:
                    await self._store_batch(batch)
                finally:
                    for sent in batch:
                        if sent.probe is not None:
                            self._admission.release(sent.probe)
                        if sent.due is not None:
                            self._admission.recorded(sent.due)
                    self._recorded()
        finally:
            self.task = None

    async def _store_batch(self, batch: Sequence[CompletedAttempt]) -> None:
        """Stores a batch; if that fails, each result by itself, so that the others are not sent again."""
        try:
            await self._write(batch)
        except Exception:
            first, log = batch[0], self._telemetry.log
            if len(batch) > 1:
                for sent in batch:
                    await self._store_batch([sent])
            elif not first.discard_response:  # an attempt that is not counted would be repeated for ever
                text = "the database rejected the result of delivery %s; storing it without the response text"
                log.exception(text, first.claim.delivery.id)
                await self._store_batch([replace(first, discard_response=True)])
            else:
                text = "the result of delivery %s could not be stored; it is sent again when its lease runs out"
                log.exception(text, first.claim.delivery.id)

    async def _write(self, batch: Sequence[CompletedAttempt]) -> None:
        """Stores a batch, repeating while the store fails and the leases hold. Raises what no repetition mends."""
        for _ in range(self._tries):
            try:
                judged, health = await self._store.write(lambda tx: self._record_batch(tx, batch))
            except ConstraintViolation:
                raise
            except StoreError as error:
                text = "the results of %d attempts can't be stored, trying again in a second: %s"
                self._telemetry.log.error(text, len(batch), error)
                if self._stopping:
                    return
                await asyncio.sleep(1)
                continue
            for sent, decision in judged:
                self._report(sent, decision)
            errors = {sent.claim.delivery.endpoint_id: decision.error for sent, decision in judged if decision.error}
            for before, after in health.values():
                if before != after:
                    self._telemetry.endpoint_changed(before, after, self._clock(), errors.get(after.id))
                    self._warn(before, after)
            for sent, decision in judged:
                if decision.status is DeliveryStatus.FAILED and sent.claim.delivery.endpoint_id in health:
                    endpoint, text = health[sent.claim.delivery.endpoint_id][1], decision.error or decision.outcome
                    self._telemetry.delivery_failed(sent.claim.delivery, endpoint, text, self._clock())
            return

    def _report(self, sent: CompletedAttempt, decision: AttemptDecision) -> None:
        delivery, delivered = sent.claim.delivery, decision.outcome == "delivered"
        text = attempt_summary(sent, decision)
        self._telemetry.attempt_done(delivery, sent.format, decision.outcome, sent.duration_ms, self._clock(), text)
        self._admission.record_result(delivery.endpoint_id, delivered)

    def _record_batch(
        self, tx: Tx, batch: Sequence[CompletedAttempt]
    ) -> tuple[list[tuple[CompletedAttempt, AttemptDecision]], dict[str, tuple[Endpoint, Endpoint]]]:
        """Judges each attempt, then writes deliveries, attempts and the health of the endpoints.

        Returns the decisions, and by id the endpoints before and after. Locks the endpoints' rows.
        """
        now = self._clock()
        before = endpoints.lock_many(tx, {sent.claim.delivery.endpoint_id for sent in batch})
        current = dict(before)
        judged = []
        for sent in batch:
            endpoint = current.get(sent.claim.delivery.endpoint_id)
            decision = self.classify(sent, endpoint, now)
            judged.append((sent, decision))
            if endpoint is not None:
                limit, jitter, since = self._rules.disable_after, self._rng.random(), self._seen_since()
                current[endpoint.id] = endpoint_health.update_health(endpoint, decision, now, limit, jitter, since)
        outbox.record_results(tx, [to_delivery_update(sent, decision, now) for sent, decision in judged])
        endpoints.release_slots(tx, {sent.probe.endpoint_id for sent in batch if sent.probe is not None})
        for id, endpoint in current.items():
            if endpoint != before[id]:
                endpoints.save_health(tx, endpoint)
        return judged, {id: (before[id], after) for id, after in current.items()}

    def _warn(self, before: Endpoint, after: Endpoint) -> None:
        """Counts an endpoint that the relay disabled; warns once of one that it will disable."""
        warning = endpoint_health.health_warning(before, after, self._clock(), self._rules.disable_after)
        if warning is None or not after.enabled:
            self._warned.discard(after.id)
        if before.enabled and not after.enabled:
            self._telemetry.endpoint_disabled()
        elif warning is not None and after.id not in self._warned:
            self._telemetry.endpoint_warning(after, warning, self._clock())
            self._warned.add(after.id)
        elif endpoint_health.circuit_is_open(after.failures) > endpoint_health.circuit_is_open(before.failures):
            text = f"failed {after.failures} times in a row; it gets one attempt at a time until one succeeds"
            self._telemetry.endpoint_warning(after, text, self._clock())

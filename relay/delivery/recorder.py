"""The recorder classifies the results of attempts and stores them, many in one transaction."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from relay.config import DeliverySection
from relay.delivery import digest, endpoint_health, retry_policy
from relay.delivery.admission import AdmissionControl
from relay.delivery.attempt import CompletedAttempt, attempt_summary, to_delivery_update, without_response_text
from relay.delivery.enqueue import enqueue
from relay.delivery.retry_policy import AttemptDecision
from relay.egress import RequestFailed, SendResult
from relay.errors import ConstraintViolation, StoreError
from relay.model import ID_BYTES, SECOND, DeliveryStatus, Endpoint, Instant
from relay.store import Store, Tx
from relay.store.engine.database import random_bytes
from relay.store.tables import digests, endpoints, events, outbox
from relay.store.tables.replays import REPLAY
from relay.telemetry import Telemetry
from relay.telemetry.state_changes import News, endpoint_news, failed_delivery_news, failing_endpoint_news

_BATCH = 200

_GATHERED = 0.01
"""Seconds for which results are gathered while other attempts are in flight: many cost hardly more than one."""

Decided = tuple[CompletedAttempt, AttemptDecision]
"""An attempt, and the decision about it."""


class ResultRecorder:
    """Stores the results of attempts; calls `recorded` after each batch, with whether its deliveries have all ended.

    `lease` is the length of a lease in ms.
    """

    def __init__(
        self,
        store: Store,
        rules: DeliverySection,
        clock: Callable[[], Instant],
        telemetry: Telemetry,
        rng: random.Random,
        admission: AdmissionControl,
        recorded: Callable[[bool], None],
        lease: int,
        seen_since: Callable[[], Instant] = lambda: 0,
        store_news: Callable[[Tx, Sequence[News | None]], None] = lambda tx, news: None,
    ) -> None:
        """`store_news` stores news for the operator in the transaction that makes it."""
        self._store_news = store_news
        self._store, self._rules, self._clock, self._telemetry = store, rules, clock, telemetry
        self._rng, self._admission, self._recorded = rng, admission, recorded
        self._seen_since = seen_since
        self._tries = max(1, lease // SECOND)
        self._queue: asyncio.Queue[CompletedAttempt] = asyncio.Queue(rules.concurrency * 4)
        self._warned: set[str] = set()
        self._without_fallback: set[str] = set()
        self._stopping = False
        self.task: asyncio.Task[None] | None = None
        """The task that stores results; None if there are none."""

    async def put(self, completed: CompletedAttempt) -> None:
        """Queues a completed attempt; waits if too many are not stored yet."""
        await self._queue.put(completed)
        if self.task is None:
            self.task = asyncio.create_task(self._drain())

    async def stop(self) -> None:
        """Waits for the store, but at most one second: leases of results that are not stored expire by themselves."""
        self._stopping = True
        if self.task is not None:
            await asyncio.wait([self.task], timeout=1)

    def classify(self, completed: CompletedAttempt, now: Instant) -> AttemptDecision:
        """The decision about an attempt. Never raises: a response that can't be classified is a failed attempt."""
        try:
            decision = self._classify(completed, completed.outcome, now)
            return without_response_text(decision) if completed.discard_response else decision
        except Exception as error:
            text = "the response to delivery %s could not be classified; the attempt counts as failed"
            self._telemetry.log.exception(text, completed.leased.delivery.id)
            fault = RequestFailed("internal", f"the relay failed to classify the response: {type(error).__name__}")
            return self._classify(completed, fault, now)

    def _classify(self, completed: CompletedAttempt, outcome: SendResult, now: Instant) -> AttemptDecision:
        endpoint, schedule = completed.endpoint, self._rules.schedule
        tries, jitter = completed.leased.delivery.attempts_in_run + 1, self._rng.random()
        decision = retry_policy.classify_attempt(
            outcome, endpoint.format, tries, schedule, now, jitter, endpoint.template
        )
        return retry_policy.after_replay(decision) if completed.leased.trigger == REPLAY else decision

    async def _drain(self) -> None:
        """Stores queued results until none is left, in batches of those that arrived meanwhile."""
        try:
            while not self._queue.empty():
                if self._admission.in_flight > self._queue.qsize():
                    await asyncio.sleep(_GATHERED)
                batch = [self._queue.get_nowait()]
                while len(batch) < _BATCH and not self._queue.empty():
                    batch.append(self._queue.get_nowait())
                all_ended = False
                try:
                    all_ended = await self._store_batch(batch)
                finally:
                    for completed in batch:
                        if completed.probe is not None:
                            self._admission.release(completed.probe)
                        if completed.due is not None:
                            self._admission.recorded(completed.due)
                    self._recorded(all_ended)
        finally:
            self.task = None

    async def _store_batch(self, batch: Sequence[CompletedAttempt]) -> bool:
        """Stores a batch; if that fails, each result by itself, so that one bad result repeats no other delivery.

        Returns whether all is stored, and no delivery is attempted again.
        """
        try:
            return await self._write(batch)
        except Exception:
            first, log = batch[0], self._telemetry.log
            if len(batch) > 1:
                for completed in batch:
                    await self._store_batch([completed])
            elif not first.discard_response:  # an attempt that is not counted would repeat without end
                text = "the database rejected the result of delivery %s; storing it without the response text"
                log.exception(text, first.leased.delivery.id)
                await self._store_batch([replace(first, discard_response=True)])
            else:
                text = "the result of delivery %s could not be stored; the delivery is repeated when its lease expires"
                log.exception(text, first.leased.delivery.id)
            return False

    async def _write(self, batch: Sequence[CompletedAttempt]) -> bool:
        """Stores a batch, and retries while the store fails and the leases hold. Raises any other error."""
        for _ in range(self._tries):
            try:
                decisions, health = await self._store.write(lambda tx: self._record_batch(tx, batch), at_end=True)
            except ConstraintViolation:
                raise
            except StoreError as error:
                outlook = "the relay stops, they are repeated later" if self._stopping else "retrying in a second"
                self._telemetry.log.error("results of %d attempts can't be stored, %s: %s", len(batch), outlook, error)
                if self._stopping:
                    break
                await asyncio.sleep(1)
                continue
            self._report(decisions, health)
            return all(decision.next_attempt_at is None and not completed.probe for completed, decision in decisions)
        return False

    def _report(self, decisions: Sequence[Decided], health: Mapping[str, tuple[Endpoint, Endpoint]]) -> None:
        """Counts and logs the attempts of a stored batch, and what they changed."""
        now = self._clock()
        self._telemetry.attempts_done(
            (completed.endpoint.format, decision.outcome) for completed, decision in decisions
        )
        for completed, decision in decisions:
            delivery, summary = completed.leased.delivery, partial(attempt_summary, completed, decision)
            self._telemetry.attempt_done(delivery, decision.outcome, completed.duration_ms, now, summary)
            self._admission.record_result(delivery.endpoint_id, decision.outcome == "delivered")
        errors = _last_errors(decisions)
        for before, after in health.values():
            if before != after:
                self._telemetry.endpoint_changed(before, after, now, errors.get(after.id))
                self._warn(before, after)

    def _record_batch(
        self, tx: Tx, batch: Sequence[CompletedAttempt]
    ) -> tuple[list[Decided], dict[str, tuple[Endpoint, Endpoint]]]:
        """Classifies each attempt, then writes deliveries, attempts and the health of the endpoints.

        Returns the decisions, and by id, before and after, the endpoints whose health the attempts may change: a
        success changes nothing at one that was well when its attempt began. Locks the rows of these endpoints.
        """
        now = self._clock()
        decisions = [(completed, self.classify(completed, now)) for completed in batch]
        unwell = {
            completed.endpoint.id
            for completed, decision in decisions
            if not (decision.is_plain_success and completed.endpoint.is_well)
        }
        before = endpoints.lock_many(tx, unwell) if unwell else {}
        current = dict(before)
        for completed, decision in decisions:
            if (endpoint := current.get(completed.endpoint.id)) is not None:
                current[endpoint.id] = self._health_after(endpoint, completed, decision, now)
        scheduled = len(self._rules.schedule)
        outbox.record_results(
            tx,
            [
                to_delivery_update(completed, decision, now, random_bytes(tx, ID_BYTES), scheduled)
                for completed, decision in decisions
            ],
        )
        endpoints.release_slots(tx, {completed.probe.endpoint_id for completed in batch if completed.probe is not None})
        for id, endpoint in current.items():
            if endpoint != before[id]:
                endpoints.save_health(tx, endpoint)
        for completed, decision in decisions:
            if completed.leased.delivery.is_digest and decision.next_attempt_at is None:
                digests.record_result(tx, completed.leased.delivery.id, now)
        for completed, decision in decisions:
            if decision.pause_host and decision.pause_until is not None:
                endpoints.pause_host(tx, completed.leased.host, decision.pause_until)
        self._enqueue_fallbacks(tx, decisions, current, now)
        health = {id: (before[id], after) for id, after in current.items()}
        if not any(completed.discard_response for completed in batch):  # then whatever else may fail is left out
            self._store_news(tx, self._news(decisions, health, now))
        return decisions, health

    def _health_after(
        self, endpoint: Endpoint, completed: CompletedAttempt, decision: AttemptDecision, now: Instant
    ) -> Endpoint:
        if completed.leased.trigger == REPLAY:
            return endpoint_health.update_after_replay(endpoint, decision, now)
        limit, jitter, since = self._rules.disable_after, self._rng.random(), self._seen_since()
        return endpoint_health.update_health(endpoint, decision, now, limit, jitter, since)

    def _news(
        self, decisions: Sequence[Decided], health: Mapping[str, tuple[Endpoint, Endpoint]], now: Instant
    ) -> list[News | None]:
        """The operator's news of a batch."""
        errors, news = _last_errors(decisions), list[News | None]()
        for before, after in health.values():
            news.append(endpoint_news(before, after, now, errors.get(after.id)))
            if warning := self._warning(before, after, now):
                news.append(failing_endpoint_news(after, warning, now))
        for completed, decision in decisions:
            delivery = completed.leased.delivery
            is_final = decision.status is DeliveryStatus.FAILED and completed.leased.trigger != REPLAY
            if is_final and delivery.endpoint_id in health:
                endpoint = health[delivery.endpoint_id][1]
                news.append(failed_delivery_news(delivery, endpoint, decision.error or decision.outcome, now))
        return news

    def _enqueue_fallbacks(
        self, tx: Tx, decisions: Sequence[Decided], current: Mapping[str, Endpoint], now: Instant
    ) -> None:
        """Enqueues what failed for good for the endpoint's fallback, if it has one; a fallback's failures end there."""
        for completed, decision in decisions:
            delivery = completed.leased.delivery
            endpoint = current.get(delivery.endpoint_id)
            if decision.status is not DeliveryStatus.FAILED or endpoint is None or endpoint.fallback is None:
                continue
            if completed.leased.trigger == REPLAY:
                continue
            fallback = endpoints.lock_by_id_or_name(tx, endpoint.fallback)
            if fallback is None or fallback.id == endpoint.id or fallback.is_pulled:
                self._warn_of_fallback(endpoint)
                continue
            ids = [delivery.event_id]
            if delivery.is_digest:  # the fallback may be a program, which knows no digests
                ids = [member.event_id for member in digests.members(tx, delivery.id, digest.MAX_MEMBERS)]
            for event in events.get_many(tx, ids).values():
                enqueue(tx, event, [(fallback, None)], now, first_delay=0, trace=delivery.trace)

    def _warn_of_fallback(self, endpoint: Endpoint) -> None:
        """Says once that an endpoint's fallback is gone, as it is if the configuration had it and has it no longer."""
        if endpoint.id not in self._without_fallback:
            self._without_fallback.add(endpoint.id)
            warning = f"has a fallback that cannot be sent anything: {endpoint.fallback}"
            self._telemetry.endpoint_warning(endpoint, warning)

    def _warn(self, before: Endpoint, after: Endpoint) -> None:
        """Counts an endpoint that was disabled; warns once of an endpoint that will be disabled or is failing."""
        now, limit = self._clock(), self._rules.disable_after
        warning = self._warning(before, after, now)
        if not after.enabled or endpoint_health.health_warning(before, after, now, limit) is None:
            self._warned.discard(after.id)
        elif warning is not None:
            self._warned.add(after.id)
        if before.enabled and not after.enabled:
            self._telemetry.endpoint_disabled()
        elif warning is not None:
            self._telemetry.endpoint_warning(after, warning)

    def _warning(self, before: Endpoint, after: Endpoint, now: Instant) -> str | None:
        """The warning after an attempt, given once: the relay will disable the endpoint, or the endpoint fails."""
        warning = endpoint_health.health_warning(before, after, now, self._rules.disable_after)
        if after.enabled and warning is not None and after.id not in self._warned:
            return warning
        if endpoint_health.circuit_is_open(after.failures) > endpoint_health.circuit_is_open(before.failures):
            return f"has failed {after.failures} times in a row; it gets one attempt at a time until one succeeds"
        return None


def _last_errors(decisions: Sequence[Decided]) -> dict[str, str]:
    """The error of the last failed attempt at each endpoint, by the endpoint's id."""
    return {
        completed.leased.delivery.endpoint_id: decision.error for completed, decision in decisions if decision.error
    }

"""The relay as a whole: it connects the parts, starts the scheduler, reloads the configuration, and stops cleanly."""

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import httpx

from relay import formats
from relay.backoff import JITTER
from relay.config import Config, EndpointSection, Workspace, reload
from relay.delivery import Dispatcher, OperatorNotifier, ReplayFeeder, SendingControl, replay, suspension
from relay.delivery.attempt import HttpSender
from relay.delivery.living_messages import LivingMessages
from relay.delivery.operator_notifier import restore_states
from relay.delivery.retry_policy import RETRY_AFTER_CAP
from relay.egress import EgressRules
from relay.egress.http_client import WebhookHttpClient
from relay.egress.smtp_client import SmtpClient
from relay.endpoints import admin
from relay.errors import ConfigError, NotFound, RelayError, StoreError, ValidationFailed
from relay.formats.sample_event import SAMPLE_JOB, marked_sample
from relay.model import (
    HOUR,
    ID_BYTES,
    MINUTE,
    SECOND,
    THE_CONFIGURATION,
    THE_RELAY,
    Actor,
    Attempt,
    Endpoint,
    EventType,
    Instant,
    InvalidQuietHours,
    Registration,
    Replay,
    new_id,
    parse_quiet_hours,
)
from relay.operations import (
    ApiKeyCache,
    ClusterNotifier,
    Readiness,
    RetentionJob,
    Scheduler,
    Timekeeper,
    readiness,
)
from relay.polling import (
    DuePolls,
    ExecClient,
    Poller,
    WorkspaceStatus,
    count_watched_jobs,
    exec_transport,
    load_workspace_status,
)
from relay.polling.event_context import job_page
from relay.polling.workspace_status import COUNTED
from relay.process import descriptor_limit, system_clock
from relay.registration import (
    JobCreator,
    RegistrationResult,
    ValidatedRegistration,
    exec_callback_tokens,
    raise_if_refused,
    register_batch,
    withdraw,
)
from relay.registration.job_creation import CreatedJob, CreationOutcome, ExecJobRequest
from relay.security import ApiKey, LocalToken
from relay.security.api_keys import find_by_hash
from relay.store import Store, Tx, open_store
from relay.store.engine.database import RandomBytes, ThreadPool
from relay.store.engine.migrate import Report
from relay.store.tables import (
    clock_shift,
    deliveries,
    due_deliveries,
    endpoints,
    event_feed,
    outbox,
    pending_work,
    watches,
    workspaces,
)
from relay.store.tables.sending import Suspension
from relay.telemetry import Telemetry, Tracer
from relay.telemetry.state_changes import State, Subject, endpoint_news
from relay.waiting import EventFeed, Waiters

_MIN_TICK_GAP_MS = 20
"""Milliseconds between two ticks that registrations cause: a thousand registrations in a second cause fifty ticks, and
each job is polled no later."""

_REPLAY_GAP = 0.2
"""Seconds between two ticks while a replay goes on."""

_READINESS_TIMEOUT = 3
"""Seconds that the store has to answer a readiness check."""


MAX_WAITERS = 20_000
"""Requests that may wait at a time, if there are file descriptors for them."""

_RESERVED_DESCRIPTORS = 150
"""File descriptors for the database, other requests and the log."""
_MIN_WAITERS = 10


def _reach(config: Config) -> int:
    """How far ahead a poll or an attempt can be planned, in ms: by the schedule, or by the longest Retry-After."""
    latest = round(max(config.delivery.schedule) * (1 + JITTER))
    return max(config.polling.max_age, latest, RETRY_AFTER_CAP) + HOUR


class WebhookSender(HttpSender, Protocol):
    """`relay.egress.http_client.WebhookHttpClient`."""

    async def aclose(self) -> None:
        """Closes all connections."""


class Metronome(Protocol):
    """What calls the relay every so often: `relay.operations.scheduler.Scheduler`."""

    def every(self, ms: int, work: Callable[[], Awaitable[None]]) -> None:
        """`work` is called every so many milliseconds, once started."""

    def start(self) -> None:
        """Begins."""

    def stop(self) -> None:
        """No further call; what is at work is cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a relay reaches the world by. What is None is made from the configuration; the relay closes all of it."""

    egress: WebhookSender | None = None
    """Sends to receivers, inside and outside."""
    exec_http: httpx.AsyncClient | None = None
    """Sends to Exec."""
    metronome: Metronome | None = None
    """Calls the ticks."""
    monotonic: Callable[[], float] = time.monotonic
    """Seconds: how long Exec takes to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What a tick has found in the store."""

    suspension: Suspension | None
    waiting: int
    """Deliveries that wait for the end of the suspension."""
    is_delivery_due: bool
    unnumbered_since: Instant | None
    """Since when an event has no position in the feed; None if all have one."""
    is_replaying: bool
    polls: Mapping[str, DuePolls]


class Relay:
    """One relay. `await Relay.open(config)`, then `start`; `stop` ends it and closes the store."""

    def __init__(
        self,
        config: Config,
        store: Store,
        seed: int | None = None,
        spans: Tracer | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        """`seed` is that of all jitter; None draws one."""
        self.config, self.store = config, store
        self.clock = clock = store.clock
        self.telemetry = Telemetry(spans)
        self.rules = config.security.egress_rules()
        proxy = config.delivery.proxy.get_secret_value() if config.delivery.proxy else None
        around = surroundings or Surroundings()
        self._monotonic = around.monotonic
        self.outside_rules = config.security.outside_egress_rules()
        self.egress: WebhookSender
        self.outside_egress: WebhookSender
        if around.egress is not None:
            self.egress = self.outside_egress = around.egress
            living = None
        else:
            inside = WebhookHttpClient(self.rules, concurrency=config.delivery.concurrency, proxy=proxy)
            # Its own client, because the address of a reused connection is not checked again.
            outside = WebhookHttpClient(self.outside_rules, concurrency=config.delivery.concurrency, proxy=proxy)
            self.egress, self.outside_egress = inside, outside
            living = LivingMessages(
                store, lambda endpoint: outside if endpoint.outside_only else inside, clock, config.delivery.timeout
            )
        concurrency = config.delivery.concurrency
        self.mail = SmtpClient(self.rules, concurrency=concurrency)
        self.outside_mail = SmtpClient(self.outside_rules, concurrency=concurrency)
        rng = random.Random(seed)  # noqa: S311 (jitter, not secrets)
        owner = new_id("own", clock(), store.random_bytes(ID_BYTES))
        self.timekeeper = Timekeeper(store, clock, owner, _reach(config), self.telemetry.log)
        self._exec_http = around.exec_http or exec_transport.make_http(
            config.exec.timeout, config.polling.concurrency, config.exec.proxy_url
        )
        self.clients = {space.name: self._client_of(space) for space in config.workspaces}
        self.notifier = ClusterNotifier(store, owner, self._on_notification, self.telemetry)
        self.waiters = Waiters(config.security.waits_per_key, self._most_waiters(), self._may_wait)
        self.feed = EventFeed(store, self.waiters, clock, self.telemetry, self.notifier.notify_others)
        self.operator = OperatorNotifier(store, lambda: self.config.operator, self.telemetry, self._on_events)
        self.dispatcher = Dispatcher(
            store,
            self.egress,
            config.delivery,
            clock,
            self.telemetry,
            owner,
            rng,
            self.timekeeper.seen_since,
            self.operator.store,
            self.outside_egress,
            lambda endpoint: self.outside_mail if endpoint.outside_only else self.mail,
            living,
            config.server.public_url,
        )
        self.sending = SendingControl(store, self.dispatcher.suspend, self.wake)
        self._replays = ReplayFeeder(store, clock, self.dispatcher.wake)
        self.poller = Poller(
            store,
            config,
            self.clients,
            clock,
            self.telemetry,
            self.dispatcher.reserve,
            self._on_events,
            rng,
            self.timekeeper.seen_since,
            self.waiters.wake,
            self.operator.store,
            self.timekeeper.may_spend,
        )
        self._job_creator = JobCreator(
            store, self.clients, self.poller, clock, self.telemetry, config.server.public_url
        )
        self.telemetry.on_news = self.operator.put
        self.api_key_cache = ApiKeyCache(store, clock)
        self.local_token: LocalToken | None = None
        """Without API keys each request needs this token. None: a relay that its own process uses, without a token."""
        self.retention = RetentionJob(store, config.storage.retention, clock, owner, config.storage.retention_of)
        self._scheduler: Metronome = around.metronome or Scheduler()
        self._ticking, self._woken = asyncio.Lock(), asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._woken_ticks: asyncio.Task[None] | None = None
        self._last_tick = clock()
        self._reloading = asyncio.Lock()
        self._postponed_reload: Callable[[], Config] | None = None
        self.draining = False
        """Whether the relay was told to stop, and still serves: readiness says so."""
        self._stopping = False
        self.telemetry.configured(self.clients, clock())

    @classmethod
    async def open(
        cls,
        config: Config,
        clock: Callable[[], Instant] | None = None,
        seed: int | None = None,
        spans: Tracer | None = None,
        surroundings: Surroundings | None = None,
        random_bytes: RandomBytes = secrets.token_bytes,
        threads: ThreadPool = ThreadPoolExecutor,
        report: Report = lambda _: None,
    ) -> "Relay":
        """A relay with its store open, migrated and encrypted. Raises StoreError, which says what to do.

        `clock` replaces the machine's clock (SQLite) or the database's clock (PostgreSQL); `random_bytes` and `threads`
        are those of the store. `report` gets what is done now, on another thread.
        """
        cipher = config.security.cipher()
        store = await open_store(
            config.storage.url, cipher, clock=clock, random_bytes=random_bytes, threads=threads, report=report
        )
        return cls(config, store, seed, spans, surroundings)

    async def start(self) -> None:
        """Recovers the state of the last run, applies the configuration, then starts the scheduler.

        Raises StoreError, and ConfigError for a configured endpoint whose URL is blocked.
        """
        await self.timekeeper.begin()
        await self.store.read(self._restore_states)
        await self.sending.begin(self.config.server.public_url, self.config.server.instance, self.clock())
        if self.sending.suspension is not None:
            check = readiness.sending(self.sending.suspension.reason, self.sending.waiting)
            self.telemetry.log.warning("%s", check.text)
        await self._apply_config(self.config.endpoints, list(self.clients))
        await self.store.write(self._recover)
        self._warn_about_clock_skew()
        await self.store.read(self._warn_about_quiet_hours)
        self._scheduler.every(self.config.polling.tick, self.tick)
        self._scheduler.every(HOUR, self.run_retention)
        self._scheduler.start()
        self._spawn(self.dispatcher.run())
        self._spawn(self.notifier.run())
        self._spawn(self.operator.run())
        self._woken_ticks = self._spawn(self._tick_when_woken())
        self._wake()

    async def stop(self, spent: int = 0) -> None:
        """Starts no further work, waits up to 8 s for polls and attempts in flight, releases leases, closes the store.

        `spent` are the milliseconds of the 8 s that are over already. If the store hangs, so does this method: then the
        caller ends the process, and the leases expire.
        """
        self._stopping = True
        self.waiters.stop()
        await self.feed.stop()
        await self._cancel(*(task for task in self._tasks if task is not self._woken_ticks))
        stopped = await asyncio.gather(self._stop_polling(), self.dispatcher.stop(spent), return_exceptions=True)
        for error in stopped:
            if isinstance(error, StoreError):
                self.telemetry.log.error("the leases can't be released; others take over when they expire: %s", error)
            elif error is not None:
                raise error
        await self.operator.flush()
        await self.egress.aclose()
        await self.outside_egress.aclose()
        await self.mail.aclose()
        await self.outside_mail.aclose()
        await self._exec_http.aclose()
        await self.store.aclose()
        await asyncio.to_thread(self.telemetry.spans.close)

    async def _stop_polling(self) -> None:
        """Lets the current tick finish, so that all leases are known before they are released, and starts no other."""
        async with self._ticking:
            self._scheduler.stop()
        await self._cancel(*self._tasks)
        await self.poller.stop()

    @staticmethod
    async def _cancel(*tasks: asyncio.Task[Any]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        """To be called after something became due: this and all other relays poll and deliver now."""
        self._wake()
        self.notifier.notify_others()

    def _on_events(self) -> None:
        self.dispatcher.wake()
        self.feed.kick()
        self.notifier.notify_others()

    def _on_notification(self) -> None:
        self.feed.kick()
        self._wake()

    def _wake(self) -> None:
        self._woken.set()

    async def reload(self, read: Callable[[], Config]) -> None:
        """Applies endpoints and keys of the configuration that `read` returns; `read` runs on a thread.

        The log says which other changes need a restart. If the configuration can't be used, the log says why, and
        everything stays as it is. If the store fails, each tick tries again: another relay of the store may have the
        new key of Exec already.
        """
        async with self._reloading:
            before = dict(self.clients)
            try:
                stored = await self.api_key_cache.any_ever_created()
                merged = reload.merge_reload(self.config, await asyncio.to_thread(read), stored)
                # Before the workspaces are unpaused: with its old key a poll would be refused again.
                self.clients |= {space.name: self._client_of(space) for space in merged.new_keys}
                await self._apply_config(merged.config.endpoints, [space.name for space in merged.new_keys])
            except StoreError as error:
                self.clients |= before
                if self._postponed_reload is None:
                    self.telemetry.reload_postponed(error)
                self._postponed_reload = read
                return
            except RelayError as error:
                self.clients |= before
                self._postponed_reload = None
                self.telemetry.not_reloaded(error)
                return
            self._postponed_reload = None
            self.config = merged.config
            self.telemetry.reloaded(merged.summary(), merged.needs_restart, self.clock())
        self.wake()

    async def tick(self) -> None:
        """One run of the scheduler: starts the polls and the attempts that are due."""
        async with self._ticking:
            if self._stopping:
                return
            try:
                await self._do(await self.store.read(self._find_work))
            except StoreError as error:
                self.telemetry.log.error("due jobs can't be polled, the next tick tries again: %s", error)
                return
            except Exception:
                self.telemetry.log.exception("due jobs could not be polled, the next tick tries again")
                return
            self._last_tick = self.clock()
            self.telemetry.report_due_changes(self._last_tick)
        if self._postponed_reload is not None:
            await self.reload(self._postponed_reload)

    def _find_work(self, tx: Tx) -> _Work:
        """Reads all that a tick asks, in one transaction: nearly all ticks find nothing to do."""
        work, now = pending_work.find(tx), self.clock()
        found = _Work(
            suspension=work.suspension,
            waiting=suspension.count_waiting(tx, work.suspension),
            is_delivery_due=work.delivery_due_at is not None and work.delivery_due_at <= now,
            unnumbered_since=work.unnumbered_since,
            is_replaying=work.is_replaying,
            polls=self.poller.find_due(tx, work.polls),
        )
        self.timekeeper.sync(tx)
        return found

    async def _do(self, work: _Work) -> None:
        """Does what a tick has found. Raises StoreError."""
        self.feed.found(work.unnumbered_since)
        self.sending.found(work.suspension, work.waiting)
        if work.is_delivery_due:
            self.dispatcher.wake()
        await self.timekeeper.keep()
        await self.poller.start(work.polls)
        if work.is_replaying and work.suspension is None and await self._replays.tick():
            asyncio.get_running_loop().call_later(_REPLAY_GAP, self._wake)
        await self.api_key_cache.flush_last_used()

    async def register(
        self, request: ValidatedRegistration, now: Instant, request_id: str | None = None
    ) -> RegistrationResult:
        """Registers a job, in one transaction with other concurrent requests. Raises RequestError, StoreError."""
        result = raise_if_refused(await self.store.write_together(register_batch, (request, now)))
        self.after_registration([result], request_id)
        return result

    async def create_job(
        self,
        registration: ValidatedRegistration,
        request: ExecJobRequest,
        exec_callback: bool | None,
        request_id: str | None = None,
    ) -> CreationOutcome:
        """Creates a job at Exec and registers it, as `JobCreator.create` says. Raises RequestError, StoreError."""
        outcome = await self._job_creator.create(registration, request, exec_callback)
        if isinstance(outcome, CreatedJob):
            self.after_registration([outcome.result], request_id)
        return outcome

    def after_registration(self, results: Iterable[RegistrationResult], request_id: str | None = None) -> None:
        """To be called after registrations are committed: logs the new ones, and starts their polls and deliveries."""
        for result in results:
            if result.is_new:
                self.telemetry.registered(result.registration, request_id)
        self.wake()

    async def enable_endpoint(self, id: str, now: Instant, actor: Actor = THE_RELAY) -> tuple[Endpoint, int]:
        """The enabled endpoint, and the number of held deliveries that are due now. Raises NotFound, StoreError."""

        def enable(tx: Tx) -> tuple[Endpoint, Endpoint, int]:
            before = admin.get(tx, id)
            endpoint, released = admin.enable(tx, before, now, actor)
            self.operator.store(tx, [endpoint_news(before, endpoint, now)])
            return before, endpoint, released

        before, endpoint, released = await self.store.write(enable, at_end=True)
        self.telemetry.endpoint_changed(before, endpoint, now)
        self.wake()
        return endpoint, released

    async def withdraw_registration(self, id: str, now: Instant, owner: str | None, actor: Actor) -> Registration:
        """The registration, withdrawn as `registration.withdraw` does. Raises NotFound, StoreError.

        A job that nothing else waits for has ended with it: whoever waits for it at this relay is answered at once.
        """
        withdrawn = await self.store.write(lambda tx: withdraw(tx, id, now, owner, actor))
        self.waiters.wake(withdrawn.job_id)
        return withdrawn

    async def disable_endpoint(self, id: str, now: Instant, actor: Actor = THE_RELAY) -> Endpoint:
        """The endpoint, disabled by hand. Raises NotFound, StoreError."""

        def disable(tx: Tx) -> tuple[Endpoint, Endpoint]:
            before = admin.get(tx, id)
            endpoint = admin.disable(tx, before, now, actor)
            self.operator.store(tx, [endpoint_news(before, endpoint, now)])
            return before, endpoint

        before, endpoint = await self.store.write(disable, at_end=True)
        self.telemetry.endpoint_changed(before, endpoint, now)
        self.wake()
        return endpoint

    async def replay_endpoint(self, id: str, since: Instant, until: Instant, now: Instant, actor: Actor) -> Replay:
        """Starts sending again what was delivered to an endpoint from `since` on, before `until`.

        Raises NotFound, Conflict, StoreError.
        """
        started = await self.store.write(lambda tx: replay.start(tx, id, since, until, now, actor), at_end=True)
        self.wake()
        return started

    def rules_for(self, is_admin: bool) -> EgressRules:
        """The egress rules for callback URLs of a key with or without the scope admin."""
        return self.rules if is_admin else self.outside_rules

    async def requires_credentials(self) -> bool:
        """Whether requests need an API key, or the local token of a relay without API keys. Raises StoreError."""
        return self.local_token is not None or await self.requires_api_key()

    async def requires_api_key(self) -> bool:
        """Whether requests need an API key: always, once the relay has ever had one. Raises StoreError."""
        return bool(self.config.security.api_keys) or await self.api_key_cache.any_ever_created()

    async def find_api_key(self, hash: str) -> ApiKey | None:
        """The API key with this hash, of the configuration or of the store, or None. Raises StoreError.

        Without API keys it is the relay's local token.
        """
        if self.local_token is not None and not await self.requires_api_key():
            return find_by_hash([self.local_token], hash)
        if (configured := find_by_hash(self.config.security.api_keys, hash)) is not None:
            return configured
        if (stored := find_by_hash(await self.api_key_cache.active_keys(), hash)) is not None:
            self.api_key_cache.mark_used(stored)
        return stored

    async def _may_wait(self, key_hash: str) -> bool:
        """Whether the API key with this hash may still read; "" stands for requests without one. Raises StoreError."""
        if not key_hash:
            return not await self.requires_credentials()
        key = await self.find_api_key(key_hash)
        return key is not None and "read" in key.scopes

    def _most_waiters(self) -> int:
        """How many requests may wait: each holds a file descriptor, and other work needs some too."""
        reserved = self.config.delivery.concurrency + self.config.polling.concurrency + _RESERVED_DESCRIPTORS
        return max(_MIN_WAITERS, min(MAX_WAITERS, descriptor_limit.current() - reserved))

    def _since_tick(self, now: Instant) -> int:
        """Milliseconds since the last complete tick; 0 if it is later than `now`."""
        return max(0, now - self._last_tick)

    async def _tick_when_woken(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            await self.tick()
            await asyncio.sleep(_MIN_TICK_GAP_MS / 1_000)

    async def readiness(self) -> Readiness:
        """Whether the relay can do its work, and why if it can't."""
        now = self.clock()
        checks = [readiness.scheduler(self._since_tick(now), self.config.polling.tick)]
        if self.draining:
            checks.append(readiness.stopping(self.draining))
        try:
            async with asyncio.timeout(_READINESS_TIMEOUT):
                since, spaces, suspended, waiting, far_plans = await self.store.read(
                    lambda tx: (
                        due_deliveries.oldest_due(tx, now),
                        [workspaces.get(tx, name) for name in self.clients],
                        *suspension.status(tx),
                        clock_shift.too_far(tx, list(self.clients), now + self.timekeeper.reach),
                    )
                )
                if self.store.write_fault is not None:
                    await self.store.write_nothing()
        except StoreError as error:
            return Readiness((*checks, readiness.store(str(error))))
        except TimeoutError:
            return Readiness((*checks, readiness.store(f"the database has not answered within {_READINESS_TIMEOUT} s")))
        # Deliveries that wait for their endpoint are no backlog of the relay.
        oldest_age = 0 if since is None else max(0, now - max(since, self.dispatcher.caught_up_at))
        checks += [readiness.store(None), readiness.delivery_backlog(oldest_age), readiness.plans(*far_plans)]
        if not self.store.is_exclusive:
            checks.append(readiness.notifications(self.notifier.silent_since))
        checks.append(readiness.sending(None if suspended is None else suspended.reason, waiting))
        for space in spaces:
            checks.append(
                readiness.workspace(space.name, space.pause_kind, space.pause_reason, space.paused_until, now)
            )
        return Readiness(tuple(checks))

    async def render_metrics(self) -> bytes:
        """All metrics in Prometheus' text format. If the store fails, its gauges have their last values."""
        now, metrics = self.clock(), self.telemetry.metrics
        checks = (await self.readiness()).checks
        for check in checks:
            metrics.ready.labels(check.name).set(check.ok)
        metrics.tick_age.set(self._since_tick(now) / 1_000)
        if any(check.name == "store" and not check.ok for check in checks):
            return metrics.prometheus_text()
        for status, number in await self.workspace_statuses():
            metrics.budget_left.labels(status.name, "minute").set(status.remaining.minute)
            metrics.budget_left.labels(status.name, "day").set(status.remaining.day)
            metrics.active_watches.labels(status.name).set(number)
            metrics.learned_duration.labels(status.name, "50").set(status.median)
            metrics.learned_duration.labels(status.name, "90").set(status.p90)
        metrics.pending_deliveries.set(await self.store.read(lambda tx: deliveries.pending(tx, COUNTED)))
        return metrics.prometheus_text()

    async def send_test(
        self, endpoint: Endpoint, now: Instant, type: EventType = EventType.COMPLETED, by: str | None = None
    ) -> Attempt:
        """Sends a sample event to an endpoint once, now; the message says that it is a test, and by whom.

        The attempt is not stored, only when the first one was delivered. Raises Conflict for an endpoint that is
        pulled.
        """
        admin.refuse_if_pulled(endpoint)
        workspace, id = self.config.workspaces[0].name, new_id("evt_test", now, self.store.random_bytes(ID_BYTES))
        page = job_page(self.config.server.public_url, workspace, str(SAMPLE_JOB["id"]))
        sample = marked_sample(type, now, id, by, page=page, time_zone=self.config.server.time_zone)
        event = replace(sample, workspace=workspace)
        body = formats.render(endpoint.format, event, None, endpoint.template)
        attempt = await self.dispatcher.send_test(endpoint, event, body, now)
        if attempt.outcome == "delivered":
            await self.store.write(lambda tx: endpoints.record_test(tx, endpoint.id, now), at_end=True)
        return attempt

    def _warn_about_clock_skew(self) -> None:
        """Warns if this machine's clock differs from the store's: certificates and the log use this machine's."""
        if self.store.uses_database_clock and abs(skew := system_clock() - self.clock()) > MINUTE:
            text = "this machine's clock is %d s %s the database's, which the relay uses; correct it"
            self.telemetry.log.warning(text, abs(skew) // SECOND, "ahead of" if skew > 0 else "behind")

    def _warn_about_quiet_hours(self, tx: Tx) -> None:
        """Warns of stored windows that hold nothing, because this machine does not know their time zone any more."""
        for id, name, window in endpoints.quiet_hours(tx):
            try:
                parse_quiet_hours(window)
            except InvalidQuietHours as fault:
                text = "endpoint %s: its quiet hours hold nothing, because quiet %s; change them"
                self.telemetry.log.warning(text, name or id, fault)

    def _restore_states(self, tx: Tx) -> None:
        """Restores which problems the last run reported, so that the log and the operator learn when they are over."""
        restore_states(tx, self.clients, self.telemetry.changes)
        for name in self.clients:
            if workspaces.get(tx, name).pause_kind == "unauthorized":
                self.telemetry.changes.restore(Subject("exec", name), State.KEY_REFUSED)

    def _recover(self, tx: Tx) -> None:
        """At the start: releases the leases of the last run, if the relay has the store alone, and makes what all
        relays on the store need."""
        now = self.clock()
        if self.store.is_exclusive:
            outbox.release(tx, now)
            watches.release_all(tx, now)
        for name in self.clients:
            exec_callback_tokens.get_or_create_token(tx, name)
        event_feed.ensure(tx)

    async def _apply_config(self, configured: Sequence[EndpointSection], new_keys: Sequence[str]) -> None:
        """Creates and changes the configured endpoints, and unpauses workspaces that have a new key.

        Raises ConfigError, StoreError.
        """
        now = self.clock()

        def unpause(tx: Tx) -> None:
            for name in sorted(new_keys):
                state = workspaces.lock(tx, name)
                if state.pause_kind == "unauthorized":
                    workspaces.save(tx, replace(state, paused_until=None, pause_kind=None, pause_reason=None))
                    watches.retry_failed(tx, name, now)

        def apply(tx: Tx) -> list[str]:
            unpause(tx)
            return admin.sync_configured(tx, configured, self.rules, now)

        try:
            removed = await self.store.write(apply)
        except ValidationFailed as error:
            raise ConfigError(f"{error.field}: {error.message}") from None
        for id in removed:
            with suppress(NotFound):  # another relay on the store reads the same configuration
                if await self.store.write(partial(admin.retire, id=id, now=now), at_end=True):
                    text = "endpoint %s is no longer in the configuration; what waits for it is held: see its page"
                    self.telemetry.log.warning(text, id)
                    continue
                await admin.delete(self.store, id, now, configured=True, actor=THE_CONFIGURATION)

    def _client_of(self, space: Workspace) -> ExecClient:
        return ExecClient(
            name=space.name,
            api_key=space.api_key.get_secret_value(),
            base_url=space.base_url,
            timeout=self.config.exec.timeout,
            clock=self.clock,
            http=self._exec_http,
            monotonic=self._monotonic,
        )

    async def workspace_statuses(self) -> list[tuple[WorkspaceStatus, int]]:
        """The status of each workspace, and the number of jobs it watches. Costs no request to Exec."""
        now = self.clock()
        return await self.store.read(
            lambda tx: [(self.workspace_status(tx, name, now), count_watched_jobs(tx, name)) for name in self.clients]
        )

    def workspace_status(self, tx: Tx, name: str, now: Instant) -> WorkspaceStatus:
        """The status of one workspace."""
        return load_workspace_status(tx, name, self.poller.rate_limits[name], self.poller.policy_for(name), now)

    async def run_retention(self) -> None:
        """Deletes old rows, once the clock is sure; called every hour. Logs how many held deliveries it expired."""
        if not self.timekeeper.is_sure():
            return
        try:
            result = await self.retention.tick()
        except StoreError as error:
            self.telemetry.log.error("old rows could not be deleted: %s", error)
        else:
            if result.expired:
                text = "%d deliveries failed for good, because they were held longer than storage.retention"
                self.telemetry.log.warning(text, result.expired)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

"""What operators, clients, Exec and the relay itself do to the same rows: use cases, and what must hold after any two.

Each world has a job that is watched (`live`), three that ended long ago: one whose deliveries failed (`old`), one whose
delivery is held (`kept`), one whose delivery is due (`due`); and endpoints that are enabled, disabled, configured, and
named by nothing.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from sqlalchemy import delete, select, text, update

from relay import formats, registration
from relay.config import Config, EndpointSection
from relay.delivery import replay
from relay.delivery.admission import AdmissionControl, Reservation
from relay.delivery.digest import gather
from relay.delivery.enqueue import enqueue
from relay.endpoints import EndpointSpec
from relay.endpoints import admin as standing
from relay.model import DAY, THE_RELAY, EndpointKind, Event, EventType, Instant, ScenarioJob, WatchState
from relay.model.poll_result import JobFound, Poll
from relay.polling.poll_recorder import AnsweredPoll
from relay.polling.poller import Poller
from relay.polling.request_budget import RateLimit
from relay.registration import RegistrationSpec, exec_callback_tokens, job_creation
from relay.store.engine import schema as tables
from relay.store.engine.database import Store, Tx
from relay.store.tables import (
    deliveries,
    endpoints,
    events,
    idempotency,
    outbox,
    pruning,
    registrations,
    watches,
    workspaces,
)
from relay.store.tables.callback_tokens import CallbackToken
from relay.store.tables.filters import DeliveryFilter
from relay.store.tables.idempotency import StoredResponse
from relay.store.tables.outbox import Lease
from relay.telemetry import Telemetry
from tests.make import NOON, OPEN_RULES, make_endpoint, make_event

SPACE = "default"
LONG_AGO = NOON - 60 * DAY
BEFORE = NOON - 30 * DAY
ALLOWANCE = RateLimit(60, 1_000, 1.0)
_EXEC_KEY = "exec_live_" + "a" * 40

_TABLES = [table.name for table in tables.metadata.sorted_tables if table.name != "store_compatibility"]
_PUT_BACK = ";".join(f"DELETE FROM {name}; INSERT INTO {name} TABLE kept.{name}" for name in _TABLES)  # noqa: S608

Write = Callable[[Callable[[Tx], Any]], Any]
"""Runs work in a transaction."""


def checked(job: str, url: str | None = None, endpoint: str | None = None) -> registration.ValidatedRegistration:
    """A request to register a job at a callback URL, or at an endpoint that is there."""
    callback = EndpointSpec(url) if url else None
    return registration.validate(
        RegistrationSpec(job_id=job, callback=callback, endpoint=endpoint), OPEN_RULES, {SPACE}
    )


def _reserve() -> Reservation:
    """No slots: nothing is sent here."""
    admission = AdmissionControl(1, 1, 1)
    admission.close()
    return Reservation(admission, lambda: Lease("nobody", NOON), _start)


async def _start(leased: Iterable[object]) -> None:
    assert not list(leased)


@dataclass(frozen=True, slots=True)
class World:
    """The ids of what was made ready."""

    ids: Mapping[str, str]
    watcher: Poller


def watcher(clock: Callable[[], Instant] = lambda: NOON, store: object = None) -> Poller:
    """A relay's watcher, without the loop that calls it."""
    space = {"name": SPACE, "api_key": _EXEC_KEY, "budget": {"per_minute": 60, "per_day": 1_000, "share": 1.0}}
    config = Config.model_validate({"workspaces": [space]})
    return Poller(cast(Store, store), config, {}, clock, Telemetry(), _reserve, lambda: None, random.Random(1))


def keep(tx: Tx) -> None:
    """Keeps what the tables hold, to begin with it again and again."""
    tx.exec_driver_sql("DROP SCHEMA IF EXISTS kept CASCADE; CREATE SCHEMA kept")
    for name in _TABLES:
        tx.exec_driver_sql(f"CREATE TABLE kept.{name} AS TABLE {name}")


def put_back(tx: Tx) -> None:
    """The tables hold what was kept, and nothing else."""
    tx.exec_driver_sql(_PUT_BACK)


def set_up(tx: Tx, by: Poller) -> World:
    """Empties the store, and makes all that the use cases meet."""
    for name in _TABLES:
        tx.execute(delete(tables.metadata.tables[name]))
    workspaces.lock(tx, SPACE)
    exec_callback_tokens.get_or_create_token(tx, SPACE)
    first = registration.raise_if_refused(
        registration.register_batch(tx, [(checked("live", "https://a.example/"), NOON)])[0]
    )
    assert first.endpoint is not None
    named = {
        "team": make_endpoint(name="team", url="https://team.example/"),
        "ops": make_endpoint(name="ops", url="https://ops.example/", source="config"),
        "off": make_endpoint(name="off", url="https://off.example/", disabled_at=LONG_AGO, disabled_reason="by hand"),
        "chat": make_endpoint(name="chat", url="https://chat.example/", format="slack", digest="5m"),
        "idle": make_endpoint(url="https://idle.example/", kind=EndpointKind.AD_HOC, created_at=LONG_AGO),
    }
    marks = endpoints.fingerprints(tx, "https://idle.example/", "standard", {}, None)
    for name, one in named.items():
        endpoints.add(tx, one, marks[0] if name == "idle" else None)
    registration.register(tx, checked("old", "https://a.example/"), LONG_AGO)
    _end(tx, "old", LONG_AGO)
    failed = {"status": "failed", "next_attempt_at": None, "ended_at": LONG_AGO}
    of_old = tables.deliveries.c.job_id == "old"
    tx.execute(delete(tables.deliveries).where(of_old, tables.deliveries.c.endpoint_id == named["chat"].id))
    tx.execute(update(tables.deliveries).where(of_old), failed)
    lost = tables.deliveries.c.id == _delivery(tx, "old", named["team"].id)
    tx.execute(update(tables.deliveries).where(lost), {"status": "delivered"})
    replayed = replay.start(tx, named["team"].id, 0, NOON, NOON, THE_RELAY)
    for job in ("kept", "due"):
        registration.register(tx, checked(job, None, "off"), LONG_AGO)
        _end(tx, job, LONG_AGO)
    idempotency.store(tx, StoredResponse(key="k", request_hash="", status=201, answer="old", created_at=LONG_AGO))
    ids = {name: one.id for name, one in named.items()}
    ids |= {"a": first.endpoint.id, "registration": first.registration.id}
    ids["replay"] = replayed.id
    ids["failed"] = _delivery(tx, "old", ids["a"])
    ids["held"] = _delivery(tx, "kept", ids["off"])
    due = tables.deliveries.c.id == _delivery(tx, "due", ids["off"])
    tx.execute(update(tables.deliveries).where(due), {"next_attempt_at": NOON})
    return World(ids, by)


def _delivery(tx: Tx, job: str, endpoint_id: str) -> str:
    of_job = (tables.deliveries.c.job_id == job, tables.deliveries.c.endpoint_id == endpoint_id)
    found: str = tx.execute(select(tables.deliveries.c.id).where(*of_job)).scalar_one()
    return found


def _end(tx: Tx, job: str, now: Instant) -> None:
    watch = watches.get_for_update(tx, SPACE, job)
    assert watch is not None
    ended = ScenarioJob(id=job, status="completed")
    watches.save(tx, replace(watch, state=WatchState.SETTLED, job=ended, next_poll_at=None, ended_at=now))
    event: Event = events.add(tx, make_event(job, now=now))
    enqueue(tx, event, registrations.lock_subscribers(tx, SPACE, job, EventType.COMPLETED), now, 0)
    registrations.mark_ended(tx, SPACE, job)


# --- the use cases ---------------------------------------------------------------------------------------------------


def _remove(name: str, write: Write, world: World) -> None:
    while write(lambda tx: standing._delete_batch(tx, world.ids[name], NOON, name == "ops", THE_RELAY)):
        pass


def _ends(write: Write, world: World) -> None:
    poll = Poll(NOON, 5, JobFound(ScenarioJob(id="live", status="completed")))

    def work(tx: Tx) -> None:
        claimed = watches.find(tx, "live", SPACE)
        assert claimed is not None
        world.watcher._recorder.record(tx, [AnsweredPoll(claimed, poll, NOON, _reserve())])

    write(work)


def _reload(names: tuple[str, ...], write: Write, world: World) -> None:
    wanted = [
        EndpointSection.model_validate({"name": name, "url": f"https://{name}-as-configured.example/"})
        for name in names
    ]
    for id in write(lambda tx: standing.sync_configured(tx, wanted, OPEN_RULES, NOON)):
        while not write(partial(standing.retire, id=id, now=NOON)) and write(
            partial(standing._delete_batch, id=id, now=NOON, configured=True)
        ):
            pass


def _of(name: str, change: Callable[..., object], write: Write, world: World) -> object:
    return write(lambda tx: change(tx, standing.get(tx, world.ids[name])))


def _disable_automatically(write: Write, world: World) -> None:
    def work(tx: Tx) -> None:
        known = endpoints.lock_many(tx, [world.ids["a"]])
        for one in known.values():
            endpoints.save_health(tx, replace(one, disabled_at=NOON, disabled_reason="it answered 410"))

    write(work)


def _prune_endpoints(write: Write, world: World) -> object:
    found, _ = write(lambda tx: pruning.old_endpoints(tx, BEFORE, 500))
    return write(lambda tx: pruning.delete_endpoints(tx, found))


def _prune_jobs(write: Write, world: World) -> None:
    jobs, _ = write(lambda tx: pruning.old_jobs(tx, BEFORE, 50))
    while jobs:
        _, jobs = write(partial(pruning.delete_jobs, jobs=jobs, before=BEFORE, limit=500))


def _registers(job: str, url: str | None, endpoint: str | None, write: Write, world: World) -> object:
    asked = checked(job, url, world.ids.get(endpoint or "", endpoint))
    return write(lambda tx: registration.register(tx, asked, NOON))


UseCase = Callable[[Write, World], object]

USE_CASES: Mapping[str, UseCase] = {
    "withdraw": lambda write, world: write(lambda tx: registration.withdraw(tx, world.ids["registration"], NOON)),
    "register elsewhere": partial(_registers, "live", "https://b.example/", None),
    "register again": partial(_registers, "live", "https://a.example/", None),
    "register by id": partial(_registers, "live", None, "team"),
    "register at an idle URL": partial(_registers, "live", "https://idle.example/", None),
    "register an old job": partial(_registers, "old", "https://b.example/", None),
    "the job ends": _ends,
    "delete an endpoint with registrations": partial(_remove, "a"),
    "delete a standing endpoint": partial(_remove, "team"),
    "reload without an endpoint": partial(_reload, ()),
    "reload with a name of the API": partial(_reload, ("ops", "team")),
    "enable": partial(_of, "off", lambda tx, one: standing.enable(tx, one, NOON)),
    "disable": partial(_of, "a", lambda tx, one: standing.disable(tx, one, NOON)),
    "disable automatically": _disable_automatically,
    "hold": lambda write, world: write(lambda tx: outbox.hold_for_disabled(tx, world.ids["off"], NOON, 100)),
    "gather a digest": lambda write, world: write(lambda tx: gather(tx, world.ids["chat"], NOON, None)),
    "delete a chat": partial(_remove, "chat"),
    "disable a chat": partial(_of, "chat", lambda tx, one: standing.disable(tx, one, NOON)),
    "rotate": partial(_of, "a", lambda tx, one: standing.rotate(tx, one, None, NOON, ())),
    "change": partial(
        _of,
        "team",
        lambda tx, one: standing.update(tx, one, standing.EndpointPatch(url="https://new.example/"), OPEN_RULES, NOON),
    ),
    "resend one": lambda write, world: write(lambda tx: deliveries.resend_or_retry_now(tx, world.ids["failed"], NOON)),
    "resend many": lambda write, world: write(
        lambda tx: deliveries.resend_batch(tx, DeliveryFilter(), NOON, 100, formats.min_interval)
    ),
    "start a replay": lambda write, world: write(lambda tx: replay.start(tx, world.ids["a"], 0, NOON, NOON, THE_RELAY)),
    "go on with a replay": lambda write, world: write(lambda tx: replay.step(tx, world.ids["replay"], NOON)),
    "stop a replay": lambda write, world: write(lambda tx: replay.stop(tx, world.ids["team"], NOON, THE_RELAY)),
    "prune jobs": _prune_jobs,
    "prune endpoints": _prune_endpoints,
    "give up what is held": lambda write, world: write(
        lambda tx: pruning.expire_held(tx, [world.ids["held"]], BEFORE, NOON)
    ),
    "callback": lambda write, world: write(lambda tx: registration.handle_callback_hint(tx, SPACE, "live", NOON)),
    "callback of an unknown job": lambda write, world: write(
        lambda tx: registration.handle_callback_hint(tx, SPACE, "unknown", NOON)
    ),
    "rotate the callback's token": lambda write, world: write(
        lambda tx: exec_callback_tokens.rotate_token(tx, SPACE, NOON)
    ),
    "poll": lambda write, world: write(lambda tx: world.watcher._lease_due(tx, SPACE, 10)),
    "create a job": lambda write, world: write(
        lambda tx: job_creation.reserve_request(tx, SPACE, ALLOWANCE, "r", {}, lambda: NOON)
    ),
    "keep an answer": lambda write, world: write(
        lambda tx: idempotency.store(
            tx, StoredResponse(key="k", request_hash="", status=201, answer="new", created_at=NOON)
        )
    ),
    "prune answers": lambda write, world: write(lambda tx: idempotency.prune(tx, BEFORE, 500)),
}
"""By name. What a use case raises of `RelayError` is an answer to its caller."""


# --- what must hold --------------------------------------------------------------------------------------------------

BROKEN = {
    "an active registration whose job is not polled": """
        SELECT r.id FROM registrations r LEFT JOIN watches w USING (workspace, job_id)
        WHERE r.status = 'active' AND w.state IS DISTINCT FROM 'active'""",
    "a job that is polled for nobody": """
        SELECT w.job_id FROM watches w WHERE w.state = 'active' AND NOT EXISTS (SELECT FROM registrations r
        WHERE (r.workspace, r.job_id) = (w.workspace, w.job_id) AND r.status = 'active')""",
    "a registration or pending delivery of an endpoint that is gone": """
        SELECT id FROM registrations r WHERE status <> 'withdrawn' AND endpoint_id <> ''
        AND NOT EXISTS (SELECT FROM endpoints e WHERE e.id = r.endpoint_id)
        UNION ALL SELECT id FROM deliveries d WHERE status = 'pending'
        AND NOT EXISTS (SELECT FROM endpoints e WHERE e.id = d.endpoint_id)""",
    "a job that ended, and a registration that has no delivery of it": """
        SELECT r.id FROM registrations r JOIN events v USING (workspace, job_id) WHERE r.status = 'settled'
        AND r.endpoint_id <> '' AND r.events LIKE '%' || v.type || '%' AND NOT EXISTS (SELECT FROM deliveries d
        WHERE d.event_id = v.id AND d.endpoint_id = r.endpoint_id AND d.status <> 'cancelled')""",
    "a delivery held for an endpoint that is enabled": """
        SELECT d.id FROM deliveries d JOIN endpoints e ON e.id = d.endpoint_id
        WHERE d.status = 'pending' AND d.next_attempt_at IS NULL AND e.disabled_at IS NULL AND NOT EXISTS (SELECT FROM
        deliveries whole WHERE whole.id = d.digest_id AND whole.status = 'pending')""",
    "a pending delivery of a registration that was withdrawn": """
        SELECT d.id FROM deliveries d JOIN registrations r ON r.id = d.registration_id
        WHERE d.status = 'pending' AND r.status = 'withdrawn' AND d.trigger = 'schedule'""",
    "a delivery without its event or its job": """
        SELECT d.id FROM deliveries d WHERE NOT EXISTS (SELECT FROM events v WHERE v.id = d.event_id)
        OR d.workspace <> '' AND NOT EXISTS (SELECT FROM watches w
        WHERE (w.workspace, w.job_id) = (d.workspace, d.job_id))
        OR d.registration_id IS NOT NULL AND NOT EXISTS (SELECT FROM registrations r WHERE r.id = d.registration_id)""",
    "a delivery that counts at another host than its endpoint's": """
        SELECT d.id FROM deliveries d JOIN endpoints e ON e.id = d.endpoint_id
        WHERE d.status = 'pending' AND d.host <> e.host""",
}
"""What may never be, each with the query that finds it."""


def broken(tx: Tx) -> list[str]:
    """What of `BROKEN` is so."""
    return [what for what, query in BROKEN.items() if tx.execute(text(query)).first() is not None]


def lost_answers(tx: Tx, names: tuple[str, str], outcomes: tuple[object, object]) -> list[str]:
    """What callers were answered, and is not so."""
    wrong, granted = [], 0
    for name, outcome in zip(names, outcomes, strict=True):
        match name, outcome:
            case "keep an answer", True if idempotency.get(tx, "k") is None:
                wrong.append("an answer that was kept is gone")
            case "rotate the callback's token", CallbackToken(token=token) if not _is_known(tx, token):
                wrong.append("a callback token that was given out is not known")
            case "poll", (list() as leased, _):
                granted += len(leased)
            case "create a job", job_creation.Reserved():
                granted += 1
    spent = sum(n for _, n in workspaces.get(tx, SPACE).ledger.seconds)
    return wrong if spent == granted else [*wrong, f"{granted} requests were granted, and {spent} are in the ledger"]


def _is_known(tx: Tx, token: str) -> bool:
    return exec_callback_tokens.find_token(tx, token, NOON, [SPACE]) is not None

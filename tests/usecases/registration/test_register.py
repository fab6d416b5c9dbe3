"""Registering and withdrawing, on a real store."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from relay import registration
from relay.delivery.enqueue import enqueue
from relay.endpoints import EndpointSpec
from relay.errors import NotFound, RequestError, ValidationFailed
from relay.model import DAY, DeliveryStatus, EventType, RegistrationStatus, ScenarioJob, WatchState
from relay.registration import RegistrationResult, RegistrationSpec, ValidatedRegistration
from relay.store.engine.database import Store, Tx
from relay.store.engine.paging import Page
from relay.store.tables import deliveries, endpoints, events, registrations, watches
from relay.store.tables.filters import DeliveryFilter
from tests.make import NOON, OPEN_RULES, make_endpoint, make_event

URL = "https://example.com/callback"


def check(**fields: Any) -> registration.ValidatedRegistration:
    callback = EndpointSpec(fields.pop("url", URL), secret=fields.pop("secret", None))
    request = RegistrationSpec(**{"job_id": "j1", "callback": callback, **fields})
    return registration.validate(request, OPEN_RULES, {"default"})


async def do(store: Store, request: registration.ValidatedRegistration, now: int = NOON) -> RegistrationResult:
    return await store.write(lambda tx: registration.register(tx, request, now))


def end(tx: Tx, job_id: str = "j1") -> None:
    """Records that a poll sees the job completed."""
    watch = watches.get_for_update(tx, "default", job_id)
    assert watch is not None
    seen = ScenarioJob(id=job_id, status="completed")
    watches.save(tx, replace(watch, state=WatchState.SETTLED, job=seen, next_poll_at=None, ended_at=NOON))
    events.add(tx, make_event(job_id))
    registrations.mark_ended(tx, "default", job_id)


async def pending(store: Store) -> int:
    return await store.read(lambda tx: deliveries.count(tx, DeliveryFilter(status=DeliveryStatus.PENDING)))


async def test_a_registration_makes_its_endpoint_and_its_watch(store: Store) -> None:
    """The first one for a URL creates the endpoint and returns its secret; the job is due for a poll at once."""
    made = await do(store, check())
    assert made.is_new
    assert made.secret is not None
    watch = await store.read(lambda tx: watches.find(tx, "j1", "default"))
    assert watch is not None
    assert (watch.state, watch.next_poll_at) == (WatchState.ACTIVE, NOON)


async def test_a_repeated_registration_returns_the_first(store: Store) -> None:
    """The same job and endpoint twice: one row, the same id, and the secret is not shown again."""
    first, again = await do(store, check()), await do(store, check())
    assert (again.is_new, again.secret) == (False, None)
    assert again.registration.id == first.registration.id


async def test_concurrent_identical_registrations_create_one(store: Store) -> None:
    """Concurrent duplicates create one registration, one endpoint, one watch."""
    made = await asyncio.gather(*(do(store, check()) for _ in range(40)))
    assert sum(item.is_new for item in made) == 1
    assert len({item.registration.id for item in made}) == 1
    rows, _ = await store.read(lambda tx: endpoints.page(tx, Page()))
    assert len(rows) == 1


async def test_concurrent_registrations_in_any_order_all_succeed(store: Store) -> None:
    """Hundreds of concurrent registrations of a few jobs and URLs, in every order: none fails, none is stored twice."""
    wishes = [(f"j{n % 7}", f"https://e{n * 5 % 6}.example/") for n in range(300)]
    made = await asyncio.gather(*(do(store, check(job_id=job, url=url)) for job, url in wishes))
    assert sum(item.is_new for item in made) == len(set(wishes))


def outcomes_of(made: Sequence[RegistrationResult | RequestError]) -> list[object]:
    """What came of registrations, ids replaced by the place where they came first."""
    seen: dict[str, int] = {}
    found: list[object] = []
    for one in made:
        if isinstance(one, RequestError):
            found.append(one.code)
            continue
        ids = [one.registration.id, one.endpoint.id if one.endpoint else ""]
        places = [seen.setdefault(id, len(seen)) for id in ids]
        found.append((*places, one.is_new, one.secret is None, one.registration.status, one.registration.events))
    return found


def kept(tx: Tx) -> list[object]:
    """What is in the store, without ids."""
    jobs, _ = watches.page(tx, Page(limit=100))
    rows, _ = registrations.page(tx, Page(limit=100))
    waiting, _ = deliveries.page(tx, Page(limit=100), DeliveryFilter())
    urls = {
        endpoint.id: endpoint.url
        for endpoint in endpoints.get_many(tx, [row.endpoint_id or "" for row in rows]).values()
    }
    found: list[object] = [("watch", one.job_id, one.state, one.next_poll_at) for one in jobs]
    found += [("registration", one.job_id, urls.get(one.endpoint_id or ""), one.status) for one in rows]
    found += [("delivery", one.job_id, urls.get(one.endpoint_id), one.status) for one in waiting]
    return sorted(found, key=str)


wishes = st.builds(
    lambda job, more, events: check(job_id=job, events=events, **more),
    st.sampled_from(["new1", "new2", "new3", "active", "over", "lost"]),
    st.sampled_from(
        [
            {},
            {"url": "https://other.example/"},
            {"secret": "whsec_" + "QUFB" * 10},
            {"callback": None},
            {"callback": None, "endpoint": "unknown"},
            {"callback": None, "endpoint": "known"},
            {"exec_callback": True},
        ]
    ),
    st.sampled_from([None, (EventType.COMPLETED,)]),
)


@given(some=st.lists(wishes, max_size=12))
@settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_a_batch_equals_single_registrations(store: Store, some: list[ValidatedRegistration]) -> None:
    """Whatever is asked for in one moment, in whatever order: the same answers, and the same in the store."""

    def work(tx: Tx) -> list[tuple[list[object], list[object]]]:
        outcomes = []
        for way in (one_by_one, together):
            before = tx.begin_nested()
            set_up(tx)
            made = way(tx)
            outcomes.append((outcomes_of(made), kept(tx)))
            before.rollback()
        return outcomes

    def set_up(tx: Tx) -> None:
        endpoints.add(tx, make_endpoint(name="known"))
        for job in ("active", "over", "lost"):
            registration.register(tx, check(job_id=job), NOON)
        end(tx, "over")
        watch = watches.get_for_update(tx, "default", "lost")
        assert watch is not None
        watches.save(tx, replace(watch, state=WatchState.NOT_FOUND, next_poll_at=None, ended_at=NOON))
        registrations.mark_ended(tx, "default", "lost")

    def one_by_one(tx: Tx) -> list[RegistrationResult | RequestError]:
        return [one for request in some for one in registration.register_batch(tx, [(request, NOON + 1)])]

    def together(tx: Tx) -> list[RegistrationResult | RequestError]:
        return registration.register_batch(tx, [(request, NOON + 1) for request in some])

    apart, at_once = await store.write(work)
    assert at_once == apart


async def test_a_batch_of_new_jobs_needs_as_many_statements_as_one(store: Store) -> None:
    """What nearly all registrations are, a job that nobody watches, is written down with all that come with it."""

    def statements(tx: Tx, number: int) -> int:
        made: list[str] = []
        event.listen(tx, "after_cursor_execute", lambda *a: made.append(a[2]))
        asked = [(check(job_id=f"of{number}x{one}"), NOON) for one in range(number)]
        assert all(isinstance(one, RegistrationResult) for one in registration.register_batch(tx, asked))
        return len(made)

    await do(store, check())
    one, hundred = await store.write(lambda tx: statements(tx, 1)), await store.write(lambda tx: statements(tx, 100))
    assert hundred <= one


async def test_different_secrets_are_different_endpoints(store: Store) -> None:
    """Two subscribers of one URL, each with its own secret, are both notified."""
    one = await do(store, check(secret="whsec_" + "QUFB" * 10))
    two = await do(store, check(secret="whsec_" + "QkJC" * 10))
    assert one.endpoint is not None
    assert two.endpoint is not None
    assert one.endpoint.id != two.endpoint.id


async def test_a_late_registration_of_an_ended_job_is_delivered_at_once(store: Store) -> None:
    """A late registration gets the ending, and its delivery is due now; registering again delivers nothing twice."""
    await do(store, check(url="https://first.example/"))
    await store.write(end)
    late = await do(store, check())
    assert late.registration.status is RegistrationStatus.SETTLED
    assert await pending(store) == 1
    await do(store, check())
    assert await pending(store) == 1


async def test_a_late_registration_gets_only_the_events_it_selects(store: Store) -> None:
    """The event filter applies to past events too."""
    await do(store, check(url="https://first.example/"))
    await store.write(end)
    await do(store, check(events=(EventType.FAILED,)))
    assert await pending(store) == 0


@pytest.mark.parametrize("state", [WatchState.NOT_FOUND, WatchState.EXPIRED, WatchState.WITHDRAWN])
async def test_a_job_that_was_given_up_is_watched_again(store: Store, state: WatchState) -> None:
    """Registering the job again restarts its watch, with the whole time."""
    await do(store, check())

    def give_up(tx: Tx) -> None:
        watch = watches.get_for_update(tx, "default", "j1")
        assert watch is not None
        watches.save(tx, replace(watch, state=state, next_poll_at=None, ended_at=NOON, polls=5, not_found_count=3))
        registrations.mark_ended(tx, "default", "j1")

    await store.write(give_up)
    again = await do(store, check(), NOON + DAY)
    assert again.registration.status is RegistrationStatus.ACTIVE
    watch = await store.read(lambda tx: watches.find(tx, "j1", "default"))
    assert watch is not None
    assert (watch.state, watch.created_at, watch.not_found_count, watch.polls) == (WatchState.ACTIVE, NOON + DAY, 0, 5)


async def test_without_an_endpoint_only_standing_endpoints_are_notified(store: Store) -> None:
    """With neither callback_url nor endpoint, the standing endpoints are notified."""
    standing = make_endpoint()
    await store.write(lambda tx: endpoints.add(tx, standing))
    made = await do(store, registration.validate(RegistrationSpec(job_id="j1"), OPEN_RULES, {"default"}))
    assert made.endpoint is None
    notified = await store.write(lambda tx: registrations.lock_subscribers(tx, "default", "j1", EventType.FAILED))
    assert [endpoint.id for endpoint, _ in notified] == [standing.id]


async def test_a_registered_standing_endpoint_is_notified_once(store: Store) -> None:
    """The registration's filter and metadata override those of the standing endpoint."""
    standing = make_endpoint(name="ops")
    await store.write(lambda tx: endpoints.add(tx, standing))
    await do(store, check(callback=None, endpoint="ops", events=(EventType.FAILED,)))
    subscribers = registrations.lock_subscribers
    notified = await store.write(lambda tx: subscribers(tx, "default", "j1", EventType.FAILED))
    assert len(notified) == 1
    assert await store.write(lambda tx: subscribers(tx, "default", "j1", EventType.COMPLETED)) == []


async def test_withdrawing_cancels_deliveries_and_stops_polling(store: Store) -> None:
    """A job without registrations is polled no longer; its pending deliveries are cancelled; twice does no harm."""
    made = await do(store, check())
    assert made.endpoint is not None
    endpoint = made.endpoint
    await store.write(lambda tx: enqueue(tx, make_event(), [(endpoint, made.registration)], NOON, 0))
    for _ in range(2):
        gone = await store.write(lambda tx: registration.withdraw(tx, made.registration.id, NOON))
        assert gone.status is RegistrationStatus.WITHDRAWN
    assert await pending(store) == 0
    watch = await store.read(lambda tx: watches.find(tx, "j1", "default"))
    assert watch is not None
    assert (watch.state, watch.next_poll_at) == (WatchState.WITHDRAWN, None)


async def test_withdrawing_one_of_two_registrations_keeps_the_watch(store: Store) -> None:
    """The job is polled as long as one registration is active."""
    made = await do(store, check())
    await do(store, check(url="https://other.example/"))
    await store.write(lambda tx: registration.withdraw(tx, made.registration.id, NOON))
    watch = await store.read(lambda tx: watches.find(tx, "j1", "default"))
    assert watch is not None
    assert watch.state is WatchState.ACTIVE


async def test_an_unknown_endpoint_or_registration_is_named(store: Store) -> None:
    """The error names it, and nothing is stored."""
    with pytest.raises(ValidationFailed, match="no endpoint"):
        await do(store, check(callback=None, endpoint="nobody"))
    with pytest.raises(NotFound):
        await store.write(lambda tx: registration.withdraw(tx, "reg_x", NOON))
    assert await store.read(lambda tx: watches.find(tx, "j1", "default")) is None


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"job_id": "../x"}, "job_id"),
        ({"job_id": "a" * 129}, "job_id"),
        ({"job_id": "j%2F1"}, "job_id"),
        ({"job_id": "jöb"}, "job_id"),
        ({"workspace": "nowhere"}, "workspace"),
        ({"endpoint": "ops"}, "endpoint"),
        ({"url": "ftp://example.com/"}, "callback_url"),
        ({"url": "https:///x"}, "callback_url"),
        ({"url": "https://user:pass@example.com/"}, "callback_url"),
        ({"url": "https://10.0.0.1/"}, "callback_url"),
        ({"secret": "hunter2"}, "secret"),
    ],
)
def test_an_invalid_request_names_its_field(fields: dict[str, Any], field: str) -> None:
    """Bad requests are refused before anything is stored, and the refusal holds no secret."""
    with pytest.raises(ValidationFailed) as refused:
        check(**fields)
    assert refused.value.field == field
    assert "hunter2" not in str(refused.value)
    assert "pass" not in refused.value.message.split("password")[0]

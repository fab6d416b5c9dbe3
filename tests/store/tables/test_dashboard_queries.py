"""The queries of the overview and the search, on both databases."""

from typing import Any

from sqlalchemy import update

from relay.delivery.enqueue import enqueue
from relay.model import HOUR, MINUTE, SECOND, Endpoint, EndpointKind, ScenarioJob, Watch, WatchState
from relay.store.engine.database import Store, Tx
from relay.store.engine.schema import deliveries
from relay.store.tables import dashboard_queries, endpoints, events, watches
from relay.store.tables.dashboard_queries import HourlyCounts
from tests.make import NOON, make_endpoint, make_event


async def fill(store: Store) -> None:
    """Five deliveries: two delivered 10 s and 30 s after the end, one failed, one pending, one of three hours ago."""
    endpoint = make_endpoint()

    def work(tx: Tx) -> None:
        endpoints.add(tx, endpoint)
        for number, at in enumerate([NOON] * 4 + [NOON - 3 * HOUR]):
            event = events.add(tx, make_event(f"j{number}", now=at))
            enqueue(tx, event, [(endpoint, None)], at, 0)
        for job_id, status, after in (("j0", "delivered", 10), ("j1", "delivered", 30), ("j2", "failed", 40)):
            ended = {"status": status, "ended_at": NOON + after * SECOND}
            tx.execute(update(deliveries).where(deliveries.c.job_id == job_id), ended)

    await store.write(work)


async def test_deliveries_are_counted_by_hour_of_creation(store: Store) -> None:
    """One entry for each hour, empty ones included, by status."""
    await fill(store)
    found = await store.read(lambda tx: dashboard_queries.by_hour(tx, NOON - 3 * HOUR + MINUTE, NOON + 1))
    assert found == [
        HourlyCounts(NOON - 3 * HOUR, 0, 0, 1),
        HourlyCounts(NOON - 2 * HOUR, 0, 0, 0),
        HourlyCounts(NOON - HOUR, 0, 0, 0),
        HourlyCounts(NOON, 2, 1, 1),
    ]


async def test_delays_run_from_the_job_end_to_the_delivery(store: Store) -> None:
    """Only for delivered ones since then, newest first, up to the limit."""
    await fill(store)
    assert sorted(await store.read(lambda tx: dashboard_queries.delays(tx, NOON - HOUR, 10))) == [
        10 * SECOND,
        30 * SECOND,
    ]
    assert len(await store.read(lambda tx: dashboard_queries.delays(tx, NOON - HOUR, 1))) == 1
    assert await store.read(lambda tx: dashboard_queries.delays(tx, NOON + 1, 10)) == []


def watch(job_id: str, name: str | None = None, polls: int = 0, minute: int = 0) -> Watch:
    """A job that ended; `name` is its scenario's."""
    sent = {"id": job_id, "status": "completed", "scenario": {"name": name} if name else None}
    at = NOON + minute * MINUTE
    job = ScenarioJob.model_validate(sent)
    state = WatchState.SETTLED
    return Watch(workspace="default", job_id=job_id, state=state, created_at=at, job=job, polls=polls, ended_at=at)


async def test_search_finds_ids_and_names(store: Store) -> None:
    """The beginning of an id, any part of a scenario's name in any case; LIKE's own signs mean themselves."""
    made = [watch("abc1", "Cold call"), watch("abd2", "100% off_er", minute=1), watch("zzz3", minute=2)]
    for one in made:
        await store.write(lambda tx, one=one: watches.add(tx, one))  # type: ignore[misc]

    async def found(text: str, most: int = 10) -> list[str]:
        return [one.job_id for one in await store.read(lambda tx: dashboard_queries.search_jobs(tx, text, most))]

    assert await found("ab") == ["abd2", "abc1"]
    assert await found("COLD") == ["abc1"]
    assert await found("100%") == ["abd2"]
    assert await found("%") == ["abd2"]
    assert await found("f_e") == ["abd2"]
    assert await found("completed") == []
    assert await found("ab", most=1) != []
    assert await found("nothing") == []


async def test_search_ends_with_the_last_job_that_it_shows(store: Store) -> None:
    """Of 500 jobs with one name it reads some more than the five that it shows."""
    made = [watch(f"j{number}", "Discovery call", minute=number) for number in range(500)]
    await store.write(lambda tx: [watches.add(tx, one) for one in made])
    read: list[str] = []

    def lower(text: str | None) -> str:
        read.append(text or "")
        return read[-1].lower()

    def search(tx: Tx) -> list[str]:
        if store.is_exclusive:  # SQLite calls it for the text of each job that it reads
            sqlite: Any = tx.connection.driver_connection
            sqlite.create_function("lower", 1, lower)
        return [one.job_id for one in dashboard_queries.search_jobs(tx, "discovery", 5)]

    assert await store.read(search) == [f"j{number}" for number in range(499, 494, -1)]
    assert len(read) < 50


async def test_search_finds_endpoints(store: Store) -> None:
    """By name, by host, by the whole id; never by the path, which may be a secret."""
    one = make_endpoint(name="Sales-Ops", url="https://hooks.example.com/secret", host="hooks.example.com:443")
    await store.write(lambda tx: endpoints.add(tx, one))
    for text, hits in (("sales", [one]), ("hooks.example", [one]), (one.id, [one]), ("secret", []), ("%", [])):
        found = await store.read(lambda tx, text=text: dashboard_queries.search_endpoints(tx, text, 5))  # type: ignore[misc]
        assert list(found) == hits, text


async def test_search_reads_a_bounded_number_of_endpoints(store: Store) -> None:
    """It reads only the newest ad hoc endpoints; standing ones and whole ids are found however old."""
    standing = make_endpoint(NOON, name="ops", url="https://old.example/0", host="old.example:443")
    made = [
        make_endpoint(
            NOON + number, kind=EndpointKind.AD_HOC, url=f"https://old.example/{number}", host="old.example:443"
        )
        for number in range(1, 9)
    ]
    for one in (standing, *made):
        await store.write(lambda tx, one=one: endpoints.add(tx, one))  # type: ignore[misc]

    async def found(text: str, most: int = 10) -> list[Endpoint]:
        return [*await store.read(lambda tx: dashboard_queries.search_endpoints(tx, text, most, among=3))]

    assert await found("old.example") == [*reversed(made[-3:]), standing]
    assert await found("old.example", most=2) == [*reversed(made[-2:])]
    assert await found(made[0].id) == [made[0]]


async def test_mean_polls_per_job_covers_the_last_jobs(store: Store) -> None:
    """None if no job has ended."""
    assert await store.read(lambda tx: dashboard_queries.mean_polls_per_job(tx, "default")) is None
    for number, polls in enumerate((3, 6)):
        await store.write(lambda tx, n=number, k=polls: watches.add(tx, watch(f"j{n}", polls=k)))  # type: ignore[misc]
    assert await store.read(lambda tx: dashboard_queries.mean_polls_per_job(tx, "default")) == 4.5
    assert await store.read(lambda tx: dashboard_queries.mean_polls_per_job(tx, "other")) is None


async def test_change_token_changes_with_every_shown_change(store: Store) -> None:
    """A new watch or delivery changes it; without a change it stays the same."""
    marks = [await store.read(dashboard_queries.change_token)]
    await store.write(lambda tx: watches.add(tx, watch("j1")))
    marks.append(await store.read(dashboard_queries.change_token))
    await fill(store)
    marks.append(await store.read(dashboard_queries.change_token))
    assert len(set(marks)) == 3
    assert await store.read(dashboard_queries.change_token) == marks[-1]

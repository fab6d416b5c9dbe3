"""The order of the events: positions without gaps, in the order in which they become visible."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import LiteralString

import psycopg
import pytest

from relay.model import OPERATOR_WORKSPACE, OperatorEventType
from relay.store.engine import dialect
from relay.store.engine.database import Store, Tx
from relay.store.tables import event_feed, events
from relay.store.tables.events import EventFilter
from tests.make import NOON, make_event

ANY = EventFilter()


def positions(tx: Tx) -> list[tuple[int, str]]:
    """All of the feed, in its order."""
    return [(one.position, one.event.job_id) for one in events.after(tx, 0, ANY, 1_000)]


async def number_all(store: Store) -> None:
    """Numbers what is committed."""
    while not await store.write(event_feed.number):
        pass


async def test_events_are_numbered_without_gaps(store: Store) -> None:
    """One after the other from 1 on, whichever transactions they came in; the same event again has one number."""
    for number in range(5):
        await store.write(lambda tx, n=number: events.add(tx, make_event(f"j{n}", now=NOON + n)))  # type: ignore[misc]
        await store.write(lambda tx, n=number: events.add(tx, make_event(f"j{n}", now=NOON + n)))  # type: ignore[misc]
    await number_all(store)
    assert await store.read(positions) == [(n + 1, f"j{n}") for n in range(5)]
    state = await store.read(event_feed.state)
    assert state is not None
    assert (state.head, state.pruned) == (5, 0)


async def test_a_rolled_back_event_leaves_no_gap(store: Store) -> None:
    """Its number goes to the next one."""

    def fail(tx: Tx) -> None:
        events.add(tx, make_event("lost"))
        raise LookupError

    with pytest.raises(LookupError):
        await store.write(fail)
    await store.write(lambda tx: events.add(tx, make_event("kept")))
    await number_all(store)
    assert await store.read(positions) == [(1, "kept")]


async def test_operator_events_are_not_in_the_feed(store: Store) -> None:
    """They are news about the relay, not about jobs."""
    news = replace(make_event("exec:default"), workspace=OPERATOR_WORKSPACE, type=OperatorEventType.UNREACHABLE)
    await store.write(lambda tx: events.add(tx, news))
    await number_all(store)
    assert await store.read(positions) == []
    assert await store.read(event_feed.oldest_unnumbered) is None


async def test_many_at_once_have_one_order(store: Store, another: Store) -> None:
    """Two relays write and number 200 events at the same time: each has a number of its own, and none is left out."""

    async def write(of: Store, name: str) -> None:
        for number in range(100):
            await of.write(lambda tx, n=number: events.add(tx, make_event(f"{name}{n}", now=NOON + n)))  # type: ignore[misc]
            if number % 7 == 0:
                await of.write(event_feed.number)

    await asyncio.gather(write(store, "a"), write(another, "b"))
    await number_all(store)
    found = await store.read(positions)
    assert [position for position, _ in found] == list(range(1, 201))
    assert len({job_id for _, job_id in found}) == 200


async def test_a_reader_misses_nothing_while_others_write(store: Store, another: Store) -> None:
    """A reader that goes on after the last position it saw sees every event once, whatever commits meanwhile."""
    seen: list[str] = []
    writing = True

    async def write(of: Store, name: str) -> None:
        for number in range(80):
            await of.write(lambda tx, n=number: events.add(tx, make_event(f"{name}{n}", now=NOON + n)))  # type: ignore[misc]
            await of.write(event_feed.number)

    async def read() -> None:
        at = 0
        while True:
            last_round = not writing
            for one in await store.read(lambda tx, after=at: events.after(tx, after, ANY, 10)):  # type: ignore[misc]
                assert one.position == at + 1
                at = one.position
                seen.append(one.event.job_id)
            if last_round and len(seen) == 160:
                return

    reading = asyncio.create_task(read())
    await asyncio.gather(write(store, "a"), write(another, "b"))
    await number_all(store)
    writing = False
    await asyncio.wait_for(reading, 30)
    assert len(set(seen)) == 160


@contextmanager
def open_transaction(url: str) -> Iterator[Tx]:
    """A transaction that stays open until the block ends, and then commits."""
    engine = dialect.engine(dialect.parse(url), writer=True, connections=1)
    try:
        with engine.begin() as tx:
            yield tx
    finally:
        engine.dispose()


async def test_a_late_commit_comes_after_what_was_read(postgres_url: str) -> None:
    """A is open with an event, B commits and is read without delay, then A commits and is read too."""
    store = await Store.open(postgres_url)
    try:
        with open_transaction(postgres_url) as tx:
            events.add(tx, make_event("a", now=NOON))
            await store.write(lambda tx: events.add(tx, make_event("b", now=NOON + 1)))
            await number_all(store)
            assert await store.read(positions) == [(1, "b")]
        await number_all(store)
        assert await store.read(positions) == [(1, "b"), (2, "a")]
    finally:
        await store.aclose()


async def test_a_forgotten_transaction_holds_nobody_up(postgres_url: str) -> None:
    """One that wrote elsewhere and stays open leaves the feed as it is."""
    store = await Store.open(postgres_url)
    try:
        with psycopg.connect(postgres_url) as forgotten:
            forgotten.execute("CREATE TABLE elsewhere (n int)")
            forgotten.execute("SELECT pg_current_xact_id()")
            await store.write(lambda tx: events.add(tx, make_event("b")))
            await number_all(store)
            assert await store.read(positions) == [(1, "b")]
            forgotten.rollback()
    finally:
        await store.aclose()


HOLDS_HEAD = (
    "SELECT * FROM event_feed WHERE name = 'head' FOR UPDATE",
    "UPDATE event_feed SET position = position WHERE name = 'head'",
)


@pytest.mark.parametrize("statement", HOLDS_HEAD)
async def test_numbering_never_waits_for_another(postgres_url: str, statement: LiteralString) -> None:
    """While somebody holds the head, numbering says that it could not, at once, and deadlocks are impossible."""
    store = await Store.open(postgres_url)
    try:
        await store.write(event_feed.ensure)
        await store.write(lambda tx: events.add(tx, make_event("b")))
        with psycopg.connect(postgres_url) as other:
            other.execute(statement)
            async with asyncio.timeout(30):
                assert await store.write(event_feed.number) is False
            assert await store.read(event_feed.oldest_unnumbered) == NOON
        assert await store.write(event_feed.number) is True
    finally:
        await store.aclose()


async def test_a_restored_dump_is_another_feed(postgres_url: str, blank_postgres_url: str) -> None:
    """The rows of a feed in another database get another identity; at home they keep theirs."""
    here = await Store.open(postgres_url)
    there = await Store.open(blank_postgres_url)
    try:
        before = await here.write(event_feed.ensure)
        assert await here.write(event_feed.ensure) == before
        with psycopg.connect(postgres_url) as source, psycopg.connect(blank_postgres_url) as target:
            rows = source.execute("SELECT name, position, identity, storage FROM event_feed").fetchall()
            target.execute("DELETE FROM event_feed")
            for row in rows:
                target.execute("INSERT INTO event_feed VALUES (%s, %s, %s, %s)", row)
        assert (await there.write(event_feed.ensure)).identity != before.identity
    finally:
        await here.aclose()
        await there.aclose()

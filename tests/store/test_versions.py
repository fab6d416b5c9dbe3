"""Tables of other versions: brought up to date by one relay while others wait, and so that the others can go on."""

import asyncio
import json
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Engine, text

from relay.errors import StoreError
from relay.security.encryption import FieldCipher
from relay.store.engine import dialect, migrate
from relay.store.engine.database import Store
from relay.store.tables import idempotency
from tests.store.newer import NEWER, Shape, breaks, make_newer
from tests.store.recording import RECORDED, unplain


@pytest.fixture
def engine(blank_url: str) -> Iterator[Engine]:
    """An empty database, in which nobody has been."""
    made = dialect.engine(dialect.parse(blank_url), writer=True, connections=1, relay_seal=FieldCipher())
    yield made
    made.dispose()


@pytest.fixture
def hasty_url(blank_postgres_url: str) -> str:
    """A PostgreSQL in which nobody waits long for a lock."""
    return f"{blank_postgres_url}&options=-c%20lock_timeout%3D300"


async def test_relays_that_start_together_make_the_tables_once(blank_postgres_url: str) -> None:
    """One makes them, the others wait for it and find them made."""
    stores = await asyncio.gather(*(Store.open(blank_postgres_url) for _ in range(5)))
    assert not any(await asyncio.gather(*(one.read(migrate.needs_upgrade) for one in stores)))
    await asyncio.gather(*(one.aclose() for one in stores))


async def test_a_relay_waits_for_another_s_migrations_however_long_they_take(hasty_url: str) -> None:
    """Longer than for any other lock."""
    with psycopg.connect(hasty_url, autocommit=True) as other:
        other.execute(f"SELECT pg_advisory_lock({migrate._LOCK})")
        opening = asyncio.create_task(Store.open(hasty_url))
        waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while other.execute(waits).fetchone() == (0,):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        assert not opening.done()
        other.execute(f"SELECT pg_advisory_unlock({migrate._LOCK})")
        await (await opening).aclose()


async def test_tables_in_use_are_not_waited_for_at_everybody_s_cost(hasty_url: str) -> None:
    """While a dump reads them, whoever would change them gives up, says why, and has changed nothing."""
    engine = dialect.engine(dialect.parse(hasty_url), writer=True, connections=1, relay_seal=FieldCipher())
    migrate.upgrade(engine, "0010")
    with psycopg.connect(hasty_url) as dump:
        dump.execute("SELECT count(*) FROM endpoints")
        with pytest.raises(StoreError, match="another transaction holds"):
            await Store.open(hasty_url)
        with engine.connect() as tx:
            assert migrate.version_of(tx) == "0010"
    engine.dispose()
    await (await Store.open(hasty_url)).aclose()


async def test_a_relay_can_start_on_tables_that_only_have_more(store: Store, store_url: str) -> None:
    """A relay of the version before comes back while others are upgraded: it works, and leaves them as they are."""
    await store.write(lambda tx: make_newer(tx, migrate.OLDEST_COMPATIBLE))
    await store.aclose()
    back = await Store.open(store_url)
    assert await back.read(migrate.version_of) == NEWER
    kept = idempotency.StoredResponse(key="k", request_hash="", status=201, answer="", created_at=0)
    assert await back.write(lambda tx: idempotency.store(tx, kept))
    assert await back.read(lambda tx: idempotency.get(tx, "k")) == kept
    await back.aclose()


async def test_a_relay_does_not_start_on_tables_that_are_others(store: Store, store_url: str) -> None:
    """Where only newer versions may work, it says so."""
    await store.write(lambda tx: make_newer(tx, NEWER))
    await store.aclose()
    with pytest.raises(StoreError, match="newer relay"):
        await Store.open(store_url)


async def test_nobody_starts_in_a_store_that_is_closed(store: Store, store_url: str) -> None:
    """And is told why, as whoever closed it said."""
    await store.write(lambda tx: migrate.lock_out(tx, "it has moved"))
    await store.aclose()
    with pytest.raises(StoreError, match="it has moved"):
        await Store.open(store_url)


def test_relays_since_the_oldest_version_can_work_in_the_newest_tables(engine: Engine) -> None:
    """Migrations since then only add. Where one can't, it sets `migrate.OLDEST_COMPATIBLE` to its own."""
    migrate.upgrade(engine, migrate.OLDEST_COMPATIBLE)
    with engine.connect() as tx:
        before = Shape(tx)
    migrate.upgrade(engine)
    with engine.connect() as tx:
        assert breaks(before, Shape(tx)) == []


async def test_what_relays_of_the_oldest_version_ask_is_answered(postgres_url: str) -> None:
    """Every statement that a relay made in its tables can be made in the newest, writes included."""
    await (await Store.open(postgres_url)).aclose()
    recorded = json.loads(RECORDED.read_text("utf-8"))
    assert recorded["version"] == migrate.OLDEST_COMPATIBLE, "record anew: see tests/store/recording.py"
    assert len(recorded["statements"]) > 200
    with psycopg.connect(postgres_url) as relay:
        for one in recorded["statements"]:
            relay.execute(one["statement"], {name: unplain(value) for name, value in one["values"].items()})
            relay.rollback()


CHANGES = {
    "ALTER TABLE polls DROP COLUMN detail": "polls.detail is gone",
    "ALTER TABLE polls RENAME COLUMN detail TO details": "polls.detail is gone",
    "DROP TABLE sessions": "sessions.csrf is gone",
    "CREATE UNIQUE INDEX one ON polls (workspace, at)": "polls: ('workspace', 'at') once only",
    "ALTER TABLE polls ALTER COLUMN detail TYPE bigint USING 0": "polls.detail is no longer TEXT",
    "ALTER TABLE watches ALTER COLUMN trace SET NOT NULL": "watches.trace must be filled in now",
    "ALTER TABLE polls ADD COLUMN more TEXT NOT NULL": "polls.more must be filled in",
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_would_stop_the_old_is_found(postgres_url: str, change: str) -> None:
    """Whatever the way it is written in."""
    store = await Store.open(postgres_url)
    before = await store.read(Shape)
    await store.write(lambda tx: make_newer(tx, NEWER))
    assert breaks(before, await store.read(Shape)) == []
    await store.write(lambda tx: tx.execute(text(change)))
    assert CHANGES[change] in breaks(before, await store.read(Shape))
    await store.aclose()

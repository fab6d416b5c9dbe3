"""Secrets at rest are encrypted, keys can be rotated, and a store with an unknown key is refused."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from relay.errors import StoreError
from relay.model import THE_CONFIGURATION, AuditAction, Endpoint, EndpointKind, Secret
from relay.security import FieldCipher
from relay.store.engine import dialect, migrate
from relay.store.engine.database import Store, Tx, connect, read_only
from relay.store.engine.paging import Page
from relay.store.maintenance import reencrypt
from relay.store.maintenance.preflight import preflight_check
from relay.store.maintenance.reencrypt import open_store
from relay.store.tables import audit, callback_tokens, endpoints, idempotency
from relay.store.tables.callback_tokens import CallbackToken
from relay.store.tables.idempotency import StoredResponse
from tests.make import NOON, make_endpoint
from tests.store.newer import NEXT, NEXT_VERSIONS

KEY, OTHER, THIRD = "k" * 32, "o" * 32, "t" * 32
MARKED = "hunter2hunter2"
AD_HOC = make_endpoint(
    id="ep_adhoc",
    kind=EndpointKind.AD_HOC,
    url=f"https://hooks.slack.com/services/{MARKED}",
    secrets=(Secret(f"whsec_{MARKED}"), Secret(f"whsec_old{MARKED}", NOON)),
    headers={"x-key": MARKED},
)
STANDING = make_endpoint(id="ep_standing", url=f"https://example.com/{MARKED}")
TOKEN = CallbackToken(workspace="default", token=MARKED, old_token=f"old{MARKED}")
KEPT = StoredResponse(
    key="digest", request_hash="a1" * 32, status=201, answer=f'{{"secret": "{MARKED}"}}', created_at=NOON
)


def asked(endpoint: Endpoint, secret: str | None) -> tuple[str, str, dict[str, str], str | None]:
    return endpoint.url, endpoint.format, dict(endpoint.headers), secret


def fill(tx: Tx) -> None:
    """One row of each encrypted kind: an endpoint identified by its secret, one by its events, a token, a response."""
    endpoints.add(tx, AD_HOC, endpoints.fingerprints(tx, *asked(AD_HOC, AD_HOC.secrets[0].value))[0])
    endpoints.add(tx, STANDING, endpoints.fingerprints(tx, *asked(STANDING, None), STANDING.events)[0])
    callback_tokens.add(tx, TOKEN)
    idempotency.store(tx, KEPT)


def assert_all_there(tx: Tx) -> None:
    """Everything that `fill` wrote is read, and found by what was asked for."""
    assert (
        endpoints.lock_by_fingerprint(tx, endpoints.fingerprints(tx, *asked(AD_HOC, AD_HOC.secrets[0].value))) == AD_HOC
    )
    found = endpoints.lock_by_fingerprint(tx, endpoints.fingerprints(tx, *asked(STANDING, None), STANDING.events))
    assert found == STANDING
    assert callback_tokens.get(tx, "default") == TOKEN
    assert idempotency.get(tx, "digest") == KEPT


def bytes_of(url: str) -> str:
    """All that the database holds in these tables, as somebody who steals it reads it."""
    engine = create_engine(dialect.parse(url))
    with engine.connect() as connection:
        tables = ("endpoints", "callback_tokens", "idempotency")
        rows = [row for table in tables for row in connection.execute(text(f"select * from {table}"))]  # noqa: S608
    engine.dispose()
    return repr(rows)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """The files of a SQLite store in `tmp_path`."""
    return [tmp_path / name for name in ("relay.db", "relay.db-wal", "relay.db-shm")]


async def filled(url: str, cipher: FieldCipher) -> None:
    store = await open_store(url, cipher)
    await store.write(fill)
    await store.aclose()


async def test_secrets_are_encrypted_at_rest(store_url: str) -> None:
    """URLs, signing secrets, header values, tokens and stored responses are read back; none is in plain text."""
    store = await open_store(store_url, FieldCipher(KEY))
    await store.write(fill)
    await store.write(assert_all_there)
    await store.write(lambda tx: endpoints.save(tx, AD_HOC))
    await store.aclose()
    assert MARKED not in bytes_of(store_url)


async def test_no_secret_is_on_disk_in_plain_text(sqlite_url: str, files: list[Path]) -> None:
    """Neither in the file nor in the write-ahead log, while the store is open and afterwards."""
    store = await open_store(sqlite_url, FieldCipher(KEY))
    await store.write(fill)
    assert MARKED.encode() not in b"".join(file.read_bytes() for file in files if file.exists())
    await store.aclose()
    assert MARKED.encode() not in b"".join(file.read_bytes() for file in files if file.exists())


async def test_store_without_a_key_is_read_without_one(store_url: str) -> None:
    """Its values are in plain text."""
    await filled(store_url, FieldCipher())
    store = await open_store(store_url, FieldCipher())
    await store.write(assert_all_there)
    await store.aclose()


async def test_plain_store_is_encrypted_when_a_key_is_set(sqlite_url: str, files: list[Path]) -> None:
    """The next start encrypts every row, and removes the overwritten text from the file."""
    await filled(sqlite_url, FieldCipher())
    assert MARKED.encode() in files[0].read_bytes()
    progress: list[tuple[int, int]] = []
    store = await open_store(sqlite_url, FieldCipher(KEY), lambda done, of: progress.append((done, of)))
    await store.write(assert_all_there)
    assert MARKED.encode() not in b"".join(file.read_bytes() for file in files if file.exists())
    await store.aclose()
    assert progress == [(2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (FieldCipher(), FieldCipher(KEY)),
        (FieldCipher(OTHER), FieldCipher(KEY, [OTHER])),
        (FieldCipher(OTHER), FieldCipher(KEY, [THIRD, OTHER])),
        (FieldCipher(OTHER), FieldCipher(None, [OTHER])),
    ],
    ids=["first key", "another key", "of several", "no key any more"],
)
async def test_key_rotation_reencrypts_every_row(store_url: str, before: FieldCipher, after: FieldCipher) -> None:
    """After one start with both keys, the new key alone reads every row; the same request finds the same row."""
    await filled(store_url, before)
    await (await open_store(store_url, after)).aclose()
    alone = FieldCipher(KEY) if after.key_id else FieldCipher()
    store = await open_store(store_url, alone)
    await store.write(assert_all_there)
    assert await store.read(reencrypt.count) == 0
    await store.aclose()
    assert (MARKED in bytes_of(store_url)) is (after.key_id is None)


@pytest.mark.parametrize(
    ("cipher", "message"),
    [
        (FieldCipher(), "security.secret_key is not set"),
        (FieldCipher(OTHER), "put that key into security.old_secret_keys"),
    ],
    ids=["none", "another"],
)
async def test_store_with_an_unknown_key_is_refused(store_url: str, cipher: FieldCipher, message: str) -> None:
    """The error says what to do, with the id of the key; nothing is changed, and the right key still works."""
    await filled(store_url, FieldCipher(KEY))
    before = bytes_of(store_url)
    with pytest.raises(StoreError, match=message) as raised:
        await open_store(store_url, cipher)
    assert str(FieldCipher(KEY).key_id) in str(raised.value)
    assert bytes_of(store_url) == before
    await (await open_store(store_url, FieldCipher(KEY))).aclose()


async def test_older_tables_are_not_upgraded_with_an_unknown_key(store_url: str) -> None:
    """The key is checked before the upgrade, also by `relay check`. The right key upgrades them."""
    await filled(store_url, FieldCipher(KEY))
    for cipher in (FieldCipher(), FieldCipher(OTHER)):
        with pytest.raises(StoreError, match="the store is encrypted with a key"):
            await open_store(store_url, cipher, versions=NEXT_VERSIONS)
        with pytest.raises(StoreError, match="the store is encrypted with a key"):
            preflight_check(store_url, cipher, NEXT_VERSIONS)
    assert read_only(store_url, migrate.version_of) == migrate.newest()
    store = await open_store(store_url, FieldCipher(KEY), versions=NEXT_VERSIONS)
    await store.write(assert_all_there)
    assert await store.read(migrate.version_of) == NEXT
    await store.aclose()


async def test_a_store_that_lacks_an_encrypted_table_is_checked_by_the_others(store_url: str) -> None:
    """Tables of an earlier version may have none for the values that are encrypted since."""
    await filled(store_url, FieldCipher(KEY))
    with connect(store_url, writing=True) as tx:
        tx.execute(text("drop table idempotency"))
    with connect(store_url, FieldCipher(OTHER)) as tx, pytest.raises(StoreError, match=str(FieldCipher(KEY).key_id)):
        reencrypt.check(tx)


async def test_interrupted_key_rotation_continues(store_url: str) -> None:
    """Meanwhile both keys read every row; the next start re-encrypts the rest."""
    await filled(store_url, FieldCipher(OTHER))
    both = FieldCipher(KEY, [OTHER])
    store = await Store.open(store_url, both)
    assert await store.write(lambda tx: reencrypt.reencrypt_batch(tx, 1)) == 1
    await store.write(assert_all_there)
    assert await store.read(reencrypt.count) == 3
    await store.aclose()
    progress: list[tuple[int, int]] = []
    store = await open_store(store_url, both, lambda done, of: progress.append((done, of)))
    await store.write(assert_all_there)
    assert progress[-1] == (3, 3)
    [entry], _ = await store.read(lambda tx: audit.page(tx, Page(10), AuditAction.STORE_REENCRYPTED))
    assert (entry.actor, entry.target, entry.detail) == (THE_CONFIGURATION, both.key_id, {"rows": 3})
    await store.aclose()


async def test_row_changed_by_hand_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    """A URL that is moved to another endpoint by hand gives an error and is not called."""
    await filled(sqlite_url, FieldCipher(KEY))
    other = sqlite3.connect(tmp_path / "relay.db")
    other.execute("update endpoints set url = (select url from endpoints where id = 'ep_adhoc')")
    other.commit()
    other.close()
    store = await open_store(sqlite_url, FieldCipher(KEY))
    with pytest.raises(StoreError, match="changed by hand"):
        await store.read(lambda tx: endpoints.get(tx, "ep_standing"))
    await store.aclose()


async def test_plain_text_in_an_encrypted_column_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    """With a key, a URL that somebody writes into the store beside the relay gives an error and is not called."""
    await filled(sqlite_url, FieldCipher(KEY))
    store = await open_store(sqlite_url, FieldCipher(KEY))
    other = sqlite3.connect(tmp_path / "relay.db")
    other.execute("update endpoints set url = 'https://attacker.example/'")
    other.commit()
    other.close()
    with pytest.raises(StoreError, match="not encrypted"):
        await store.read(lambda tx: endpoints.get(tx, "ep_adhoc"))
    await store.aclose()

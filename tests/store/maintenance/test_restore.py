"""The state that a restore carries over from the replaced store, because it must not go back."""

import asyncio
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import delete

from relay.cli import main
from relay.model import DAY, HOUR, MINUTE, SECOND, Actor, AuditAction, Secret, Via
from relay.model.usage_ledger import UsageLedger, merge
from relay.polling import request_budget
from relay.polling.request_budget import RateLimit
from relay.store.engine import schema
from relay.store.engine.database import Store, Tx
from relay.store.maintenance import backup
from relay.store.maintenance.restore import Restored, carry_over
from relay.store.tables import api_keys, audit, callback_tokens, clock_shift, endpoints, sessions, workspaces
from relay.store.tables.api_keys import StoredApiKey
from relay.store.tables.callback_tokens import CallbackToken
from relay.store.tables.sessions import Session
from tests.make import NOON, SECRET, make_endpoint

ALLOWANCES = {"default": RateLimit(60, 200, 0.8)}
ROTATED = "whsec_" + "bmV3ZXIh" * 5 + "bmV3"
SESSION = Session(id="a session", key_hash="its key", csrf="csrf", expires_at=NOON + DAY)
ENV = {"RELAY_EXEC__API_KEY": "exec_live_" + "0" * 40}


def key(id: str, name: str) -> StoredApiKey:
    return StoredApiKey(id=id, name=name, hash=f"hash of {id}", scopes=("read",), created_at=NOON)


def spend(tx: Tx, n: int, now: int) -> None:
    state = workspaces.lock(tx, "default")
    ledger = request_budget.spend(state.ledger, n, now)
    workspaces.save(tx, replace(state, ledger=ledger))


def before(tx: Tx) -> None:
    """What the backup holds."""
    for name in ("kept", "rotated", "deleted"):
        endpoints.add(tx, make_endpoint(id=f"ep_{name}", name=name, url=f"https://example.com/{name}"))
    api_keys.add(tx, key("key_1", "ops"))
    api_keys.add(tx, key("key_2", "ci"))
    callback_tokens.add(tx, CallbackToken(workspace="default", token="token of old"))
    spend(tx, 39, NOON)


def since(tx: Tx) -> None:
    """What was done since."""
    rotated = make_endpoint(id="ep_rotated", name="rotated", url="https://example.com/rotated")
    tx.execute(delete(schema.endpoints).where(schema.endpoints.c.id.in_(["ep_rotated", "ep_deleted"])))
    endpoints.add(tx, replace(rotated, secrets=(Secret(ROTATED),)))
    api_keys.revoke(tx, "ops", NOON + HOUR)
    api_keys.add(tx, key("key_3", "ops"))
    callback_tokens.save(tx, CallbackToken(workspace="default", token="token of new"))
    spend(tx, 121, NOON + HOUR)


async def restored(url: str, tmp_path: Path, damage: bytes | None = None) -> Restored:
    """A store that was backed up, used further, and restored."""
    store = await Store.open(url)
    await store.write(before)
    await store.write(lambda tx: sessions.add(tx, SESSION, NOON))
    backup.back_up(url, tmp_path / "copy.db")
    await store.write(since)
    await store.aclose()
    if damage is not None:
        Path(url.removeprefix("sqlite:///")).write_bytes(damage)
    prepare = partial(
        carry_over, minute_limits={name: limit.minute for name, limit in ALLOWANCES.items()}, now=NOON + HOUR + SECOND
    )
    return backup.restore(url, tmp_path / "copy.db", tmp_path / "aside.db", prepare)


async def test_restore_keeps_spent_requests_revocations_and_rotations(sqlite_url: str, tmp_path: Path) -> None:
    """Callback tokens and secrets too; and all sessions end."""
    said = await restored(sqlite_url, tmp_path)
    assert said == Restored(True, ("ci", "ops"), ("deleted", "kept", "rotated"), ("deleted",), ("rotated",))
    store = await Store.open(sqlite_url)
    try:
        assert [one.id for one in await store.read(api_keys.active)] == ["key_2", "key_3"]
        token = await store.read(lambda tx: callback_tokens.get(tx, "default"))
        assert token is not None
        assert token.token == "token of new"
        standing = {one.name: one.secrets for one in await store.read(endpoints.all_standing)}
        assert standing == {"kept": (Secret(SECRET),), "rotated": (Secret(ROTATED),), "deleted": (Secret(SECRET),)}
        ledger = (await store.read(lambda tx: workspaces.get(tx, "default"))).ledger
        assert request_budget.remaining(ledger, ALLOWANCES["default"], NOON + HOUR + MINUTE).day == 0
    finally:
        await store.aclose()
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (0,)


@pytest.mark.parametrize("damaged", [False, True])
async def test_the_minute_stays_spent_if_the_clock_was_set_back_since_the_backup(
    sqlite_url: str, tmp_path: Path, damaged: bool
) -> None:
    """The restored relay goes on from the backup's last instant, which is ahead of the requests spent since."""
    store = await Store.open(sqlite_url)
    await store.write(lambda tx: clock_shift.record_seen(tx, "r1", NOON))
    backup.back_up(sqlite_url, tmp_path / "copy.db")
    set_back = NOON - 90 * SECOND
    await store.write(lambda tx: clock_shift.record_seen(tx, "r1", set_back))
    await store.write(lambda tx: spend(tx, 48, set_back))
    await store.aclose()
    if damaged:
        Path(sqlite_url.removeprefix("sqlite:///")).write_bytes(b"")
    prepare = partial(carry_over, minute_limits={"default": 60}, now=set_back + SECOND)
    backup.restore(sqlite_url, tmp_path / "copy.db", tmp_path / "aside.db", prepare)
    store = await Store.open(sqlite_url)
    ledger = (await store.read(lambda tx: workspaces.get(tx, "default"))).ledger
    await store.aclose()
    assert request_budget.allowed_now(ledger, ALLOWANCES["default"], NOON + SECOND, 10) == 0
    assert request_budget.allowed_now(ledger, ALLOWANCES["default"], NOON + MINUTE + 2 * SECOND, 10) == 10


@pytest.mark.parametrize("damage", [b"", b"this is no store" * 1_000, None])
async def test_without_the_replaced_store_the_minute_counts_as_spent(
    sqlite_url: str, tmp_path: Path, damage: bytes | None
) -> None:
    """If it is lost, damaged or incomplete, the restore succeeds, keeps its file, and says so."""
    if damage is None:
        store = await Store.open(sqlite_url)
        await store.write(before)
        backup.back_up(sqlite_url, tmp_path / "copy.db")
        await store.aclose()
        with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
            connection.execute("DROP TABLE callback_tokens")
        prepare = partial(
            carry_over,
            minute_limits={name: limit.minute for name, limit in ALLOWANCES.items()},
            now=NOON + HOUR + SECOND,
        )
        said = backup.restore(sqlite_url, tmp_path / "copy.db", tmp_path / "aside.db", prepare)
    else:
        said = await restored(sqlite_url, tmp_path, damage)
        assert (tmp_path / "aside.db").exists() == bool(damage)
    assert not said.carried_over
    assert said.keys == ("ci", "ops")
    store = await Store.open(sqlite_url)
    ledger = (await store.read(lambda tx: workspaces.get(tx, "default"))).ledger
    await store.aclose()
    allowance, now = ALLOWANCES["default"], NOON + HOUR + 2 * SECOND
    assert request_budget.allowed_now(ledger, allowance, now, 10) == 0
    assert request_budget.allowed_now(ledger, allowance, now + MINUTE + SECOND, 10) == 10
    assert request_budget.remaining(ledger, allowance, now).day == 160 - 39


def test_restore_command_lists_what_works_again(sqlite_url: str, tmp_path: Path) -> None:
    """By name, without secrets."""

    async def work() -> None:
        store = await Store.open(sqlite_url)
        await store.write(before)
        backup.back_up(sqlite_url, tmp_path / "copy.db")
        await store.write(since)
        await store.aclose()

    asyncio.run(work())
    run = CliRunner(env=ENV | {"RELAY_STORAGE__URL": sqlite_url})
    done = run.invoke(main, ["restore", str(tmp_path / "copy.db"), "--yes"])
    assert done.exit_code == 0, done.output
    assert "API keys that work now: ci, ops." in done.output
    assert "Standing endpoints: deleted, kept, rotated." in done.output
    assert "Deleted since the backup, and restored: deleted." in done.output
    assert "the newer secret kept: rotated." in done.output
    Path(sqlite_url.removeprefix("sqlite:///")).unlink()
    lost = run.invoke(main, ["restore", str(tmp_path / "copy.db"), "--yes"])
    assert lost.exit_code == 0, lost.output
    assert "Exec's requests of this minute count as spent" in lost.output
    for text in (SECRET, ROTATED, "token of", "example.com", "hash of"):
        assert text not in done.output + lost.output


def test_merged_ledger_has_the_requests_of_both() -> None:
    """Each bin has the greater number, as the older ledger is part of the newer one."""
    older = request_budget.spend(UsageLedger(), 3, NOON)
    newer = request_budget.spend(older, 4, NOON + 10 * MINUTE)
    other = request_budget.spend(request_budget.spend(UsageLedger(), 2, NOON), 1, NOON + 5 * MINUTE)
    both = merge(newer, other)
    assert dict(both.buckets) == {NOON // (5 * MINUTE): 3, NOON // (5 * MINUTE) + 1: 1, NOON // (5 * MINUTE) + 2: 4}
    assert merge(other, newer) == both
    assert json.loads(both.to_json())


def audited(path: Path) -> list[tuple[str, str | None]]:
    """The audit log of a store: actions and names, oldest first."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT action, name FROM audit ORDER BY at, id").fetchall()


async def test_audit_log_is_whole_after_a_restore(tmp_path: Path) -> None:
    """With what was done since the backup, and with the restore itself."""
    path, store = tmp_path / "relay.db", await Store.open(f"sqlite:///{tmp_path}/relay.db")
    by = Actor(via=Via.COMMAND, user="ops")
    await store.write(lambda tx: audit.add(tx, by, AuditAction.KEY_CREATED, NOON, "key_1", "before"))
    backup.back_up(f"sqlite:///{path}", tmp_path / "copy.db")
    await store.write(lambda tx: audit.add(tx, by, AuditAction.KEY_REVOKED, NOON + 1, "key_1", "since"))
    await store.aclose()
    prepare = partial(carry_over, minute_limits={}, now=NOON + HOUR, actor=by)
    backup.restore(f"sqlite:///{path}", tmp_path / "copy.db", tmp_path / "aside.db", prepare)
    assert audited(path) == [("key.created", "before"), ("key.revoked", "since"), ("store.restored", None)]

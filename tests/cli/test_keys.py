"""`relay keys`: made, listed and revoked in the store, while a relay runs and before one ever did."""

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from relay.cli import main
from relay.security.api_keys import hash_api_key
from relay.store.engine.database import Store, read_only
from relay.store.tables import api_keys

Keys = Callable[..., Result]
CONFIGURED = "relay_" + "c" * 43


def keys_of(folder: Path, url: str) -> Keys:
    """Runs `relay keys ...` with a configuration on the store at `url`."""
    sections: dict[str, Any] = {"exec": {"api_key": "k" * 40}, "storage": {"url": url}}

    def run(*words: str, **more: Any) -> Result:
        (folder / "config.yaml").write_text(yaml.safe_dump(sections | more))
        return CliRunner().invoke(main, ["keys", *words, "--config", str(folder / "config.yaml")])

    return run


@pytest.fixture
def keys(tmp_path: Path, store_url: str) -> Keys:
    """On a store with nothing in it."""
    return keys_of(tmp_path, store_url)


def test_the_first_key_comes_before_the_first_start(blank_url: str, tmp_path: Path) -> None:
    """It makes the store, prints the key alone on stdout, keeps its hash, and says what changes with it."""
    keys = keys_of(tmp_path, blank_url)
    done = keys("create", "zapier", "--scope", "register")
    assert done.exit_code == 0, done.output
    key = done.stdout.strip()
    assert re.fullmatch(r"relay_[A-Za-z0-9_-]{43}", key)
    [stored] = read_only(blank_url, api_keys.active)
    assert (stored.name, stored.hash, stored.scopes) == ("zapier", hash_api_key(key), ("register",))
    assert "every call of its API wants one" in done.stderr
    place = str(Path(blank_url.removeprefix("sqlite:///")).absolute()) if "sqlite" in blank_url else "in the database"
    assert f"There was no store yet; it is now {place}," in done.stderr
    second = keys("create", "ops", "--scope", "admin", "--scope", "read")
    for words in ("every call of its API wants one", "no store yet"):
        assert words not in second.stderr
    assert second.stdout != done.stdout
    assert "read, admin" in second.stderr


def test_only_the_hash_is_kept(keys: Keys, store_url: str, tmp_path: Path) -> None:
    """The key is in no file."""
    key = keys("create", "zapier", "--scope", "register").stdout.strip()
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert key.removeprefix("relay_").encode() not in written


def test_keys_are_listed(keys: Keys) -> None:
    """Those of the configuration too; revoked ones where asked for; neither keys nor hashes."""
    made = [keys("create", name, "--scope", "read").stdout.strip() for name in ("b", "a", "gone")]
    keys("revoke", "gone")
    security = {"api_keys": [{"name": "ops", "key": CONFIGURED, "scopes": ["admin"]}]}
    rows = [line.split() for line in keys("list", security=security).output.splitlines()]
    assert [row[:3] for row in rows[1:]] == [
        ["ops", "admin", "configuration"],
        ["a", "read", "store"],
        ["b", "read", "store"],
    ]
    told = keys("list", "--all", "--json", security=security)
    found = {key["name"]: key for key in json.loads(told.output)["data"]}
    assert set(found) == {"ops", "a", "b", "gone"}
    assert found["gone"]["revoked_at"]
    assert found["a"]["created_at"]
    assert (found["a"]["revoked_at"], found["a"]["last_used_at"]) == (None, None)
    for key in [CONFIGURED, *made]:
        assert key not in told.output
        assert hash_api_key(key) not in told.output


def test_a_key_is_revoked(keys: Keys, store_url: str) -> None:
    """It is gone, its name can be had again; after the last one it says that nobody is left."""
    keys("create", "zapier", "--scope", "register")
    keys("create", "ops", "--scope", "admin")
    done = keys("revoke", "zapier")
    assert (done.exit_code, "last one" in done.output) == (0, False)
    assert [key.name for key in read_only(store_url, api_keys.active)] == ["ops"]
    assert "it was the last one" in keys("revoke", "ops").output
    assert keys("create", "zapier", "--scope", "register").exit_code == 0


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("create", "ops", "--scope", "read"), 1, "there is a key named ops; choose another name"),
        (("create", "mine", "--scope", "read"), 2, "of the configuration has a key of this name"),
        (("create", "A b", "--scope", "read"), 2, "must be 1 to 63 of a-z"),
        (("create", "new", "--scope", "reed"), 2, "is not one of 'register', 'read', 'admin'"),
        (("create", "new"), 2, "Missing option '--scope'"),
        (("create",), 2, "Missing argument 'NAME'"),
        (("revoke", "opps"), 1, 'there is no key of this name; did you mean "ops"?'),
        (("revoke", "mine"), 1, "the key mine is the configuration's: take it out of security.api_keys"),
    ],
)
def test_what_can_not_be_done_is_told(keys: Keys, words: tuple[str, ...], code: int, told: str) -> None:
    """With what to do instead; nothing is changed."""
    keys("create", "ops", "--scope", "read")
    done = keys(*words, security={"api_keys": [{"name": "mine", "key": CONFIGURED}]})
    assert (done.exit_code, told in done.output) == (code, True), done.output


def test_a_key_in_the_place_of_a_name_is_not_repeated(keys: Keys) -> None:
    """Who pastes the key itself finds it in no error."""
    key = keys("create", "ops", "--scope", "read").stdout.strip()
    for words in (("revoke", key), ("create", key, "--scope", "read")):
        done = keys(*words)
        assert done.exit_code != 0
        assert key not in done.output


def test_where_there_is_no_store(blank_sqlite_url: str, tmp_path: Path) -> None:
    """Listing and revoking make none."""
    for words in (["list"], ["revoke", "ops"]):
        done = keys_of(tmp_path, blank_sqlite_url)(*words)
        assert (done.exit_code, "there is no store" in done.output) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_beside_a_relay(keys: Keys, store_url: str) -> None:
    """A relay that holds the store is no hindrance, and need not be asked."""

    async def beside() -> list[str]:
        store = await Store.open(store_url)
        try:
            done = await asyncio.to_thread(keys, "create", "ops", "--scope", "read")
            assert done.exit_code == 0, done.output
            return [key.name for key in await store.read(api_keys.active)]
        finally:
            await store.aclose()

    assert asyncio.run(beside()) == ["ops"]


# --- what a start makes of them --------------------------------------------------------------------------------


def test_without_any_key_it_refuses_to_listen_to_others(keys: Keys, tmp_path: Path, logging_restored: None) -> None:
    """Exit code 2, and what to do; nothing listens."""
    for host in ("0.0.0.0", "::", "relay.example"):  # noqa: S104
        keys("list", server={"host": host, "port": 0})
        done = CliRunner().invoke(main, ["serve", "--config", str(tmp_path / "config.yaml")])
        assert done.exit_code == 2, done.output
        assert "server.host is open to others, and there is no API key" in done.output
        assert "relay keys create" in done.output

"""`relay keys`: create, list and revoke keys in the store, while a relay runs and before its first start."""

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
from relay.security import hash_api_key
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


def test_the_first_key_can_be_created_before_the_first_start(blank_url: str, tmp_path: Path) -> None:
    """It creates the store, prints only the key on stdout, stores its hash, and warns that the store is new."""
    keys = keys_of(tmp_path, blank_url)
    done = keys("create", "zapier", "--scope", "register")
    assert done.exit_code == 0, done.output
    key = done.stdout.strip()
    assert re.fullmatch(r"relay_[A-Za-z0-9_-]{43}", key)
    [stored] = read_only(blank_url, api_keys.active)
    assert (stored.name, stored.hash, stored.scopes) == ("zapier", hash_api_key(key), ("register",))
    assert "every call of its API needs one" in done.stderr
    is_file = blank_url.startswith("sqlite")
    store = str(Path(blank_url.removeprefix("sqlite:///")).absolute()) if is_file else "postgresql://"
    assert f"It is stored in {store}" in done.stderr
    assert "! There was no store yet, so this made one." in done.stderr
    second = keys("create", "ops", "--scope", "admin", "--scope", "read")
    assert f"It is stored in {store}" in second.stderr
    for words in ("every call of its API needs one", "no store yet"):
        assert words not in second.stderr
    assert second.stdout != done.stdout
    assert "read, admin" in second.stderr


def test_only_the_hash_is_kept(keys: Keys, store_url: str, tmp_path: Path) -> None:
    """The key is in no file."""
    key = keys("create", "zapier", "--scope", "register").stdout.strip()
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert key.removeprefix("relay_").encode() not in written


def test_an_admin_that_can_not_read_is_warned_about(keys: Keys) -> None:
    """`--scope admin` alone lists nothing: said when the key is made, not when it is refused."""
    alone, both = keys("create", "a", "--scope", "admin"), keys("create", "b", "--scope", "admin", "--scope", "read")
    assert (alone.exit_code, "--scope read beside it" in alone.stderr) == (0, True)
    assert "beside it" not in both.stderr


def test_list_shows_keys_of_the_store_and_the_configuration(keys: Keys) -> None:
    """Revoked ones only with --all; neither keys nor hashes."""
    made = [keys("create", name, "--scope", "read").stdout.strip() for name in ("b", "a", "gone")]
    keys("revoke", "gone")
    security = {"api_keys": [{"name": "ops", "key": CONFIGURED, "scopes": ["admin"]}]}
    rows = [line.split() for line in keys("list", security=security).output.splitlines()]
    assert [row[:3] for row in rows[1:]] == [
        ["ops", "admin", "configuration"],
        ["a", "read", "store"],
        ["b", "read", "store"],
    ]
    output = keys("list", "--all", "--json", security=security).output
    listed = {key["name"]: key for key in json.loads(output)["data"]}
    assert set(listed) == {"ops", "a", "b", "gone"}
    assert listed["gone"]["revoked_at"]
    assert listed["a"]["created_at"]
    assert (listed["a"]["revoked_at"], listed["a"]["last_used_at"]) == (None, None)
    for key in [CONFIGURED, *made]:
        assert key not in output
        assert hash_api_key(key) not in output


def test_revoke_deletes_a_key_and_frees_its_name(keys: Keys, store_url: str) -> None:
    """After the last key, it warns that nobody can use the API."""
    keys("create", "zapier", "--scope", "register")
    keys("create", "ops", "--scope", "admin")
    done = keys("revoke", "zapier")
    assert (done.exit_code, "last key" in done.output) == (0, False)
    assert [key.name for key in read_only(store_url, api_keys.active)] == ["ops"]
    assert "it was the last key" in keys("revoke", "ops").output
    assert keys("create", "zapier", "--scope", "register").exit_code == 0


@pytest.mark.one_on_postgresql
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("create", "ops", "--scope", "read"), 1, "there is a key named ops; choose another name"),
        (("create", "mine", "--scope", "read"), 2, "of the configuration has a key of this name"),
        (("create", "A b", "--scope", "read"), 2, "must be 1 to 63 of a-z"),
        (("create", "new", "--scope", "reed"), 2, "is not one of 'register', 'subscribe', 'read', 'admin'"),
        (("create", "new"), 2, "Missing option '--scope'"),
        (("create",), 2, "Missing argument 'NAME'"),
        (("revoke", "opps"), 1, 'there is no key of this name; did you mean "ops"?'),
        (("revoke", "mine"), 1, "the key mine is in the configuration: remove it from security.api_keys"),
    ],
)
def test_a_refused_command_says_what_to_do_instead(keys: Keys, words: tuple[str, ...], code: int, message: str) -> None:
    """Nothing is changed."""
    keys("create", "ops", "--scope", "read")
    done = keys(*words, security={"api_keys": [{"name": "mine", "key": CONFIGURED}]})
    assert (done.exit_code, message in done.output) == (code, True), done.output


def test_a_key_pasted_as_a_name_is_not_repeated(keys: Keys) -> None:
    """No error shows the key."""
    key = keys("create", "ops", "--scope", "read").stdout.strip()
    for words in (("revoke", key), ("create", key, "--scope", "read")):
        done = keys(*words)
        assert done.exit_code != 0
        assert key not in done.output


def test_list_and_revoke_create_no_store(blank_sqlite_url: str, tmp_path: Path) -> None:
    """Both say that there is no store."""
    for words in (["list"], ["revoke", "ops"]):
        done = keys_of(tmp_path, blank_sqlite_url)(*words)
        assert (done.exit_code, "there is no store" in done.output) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_keys_can_be_created_beside_a_running_relay(keys: Keys, store_url: str) -> None:
    """The lock of the relay does not block the command."""

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


def test_without_any_key_it_refuses_to_start_with_a_public_url(
    keys: Keys, tmp_path: Path, logging_restored: None
) -> None:
    """A public address leads here from outside, by a proxy that need not say so: exit code 2, and what to do."""
    keys("list", server={"port": 0, "public_url": "https://relay.example.com"})
    done = CliRunner().invoke(main, ["serve", "--config", str(tmp_path / "config.yaml")])
    assert done.exit_code == 2, done.output
    assert "server.public_url is set, and there is no API key" in done.output
    assert "relay keys create" in done.output


def test_without_any_key_it_refuses_to_listen_to_others(keys: Keys, tmp_path: Path, logging_restored: None) -> None:
    """Exit code 2, and what to do; nothing listens."""
    for host in ("0.0.0.0", "::", "relay.example"):  # noqa: S104
        keys("list", server={"host": host, "port": 0})
        done = CliRunner().invoke(main, ["serve", "--config", str(tmp_path / "config.yaml")])
        assert done.exit_code == 2, done.output
        assert "server.host is open to others, and there is no API key" in done.output
        assert "relay keys create" in done.output

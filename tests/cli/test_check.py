"""`relay check`: each finding says what is wrong and what to do, and nothing is changed."""

import asyncio
import os
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from relay.cli import main
from relay.model import EndpointKind, Secret
from relay.process import system_clock
from relay.sandbox.local_server import serve
from relay.sandbox.receiver import Receiver, Respond
from relay.store.engine.database import Store
from relay.store.tables import endpoints
from tests.make import NOON, SECRET, make_endpoint


def check(folder: Path, *words: str, **sections: Any) -> Result:
    config = {
        "exec": {"api_key": "k" * 40, "base_url": "http://127.0.0.1:9/rest/v1"},
        "storage": {"url": f"sqlite:///{folder}/data/relay.db"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config | sections))
    return CliRunner().invoke(main, ["check", *words, "--config", str(folder / "config.yaml")])


def line(result: Result, about: str) -> str:
    """The finding about this."""
    [found] = [line for line in result.output.splitlines() if line[2:].startswith(f"{about}: ")]
    return found


def make_store(folder: Path) -> Path:
    (folder / "data").mkdir()

    async def make() -> None:
        await (await Store.open(f"sqlite:///{folder}/data/relay.db")).aclose()

    asyncio.run(make())
    return folder / "data" / "relay.db"


def test_check_creates_no_store(tmp_path: Path) -> None:
    """Neither the file nor its folder."""
    found = check(tmp_path)
    assert line(found, "store").startswith("✓ store: does not exist yet; `relay serve` creates it")
    assert os.listdir(tmp_path) == ["config.yaml"]


def test_check_upgrades_no_tables(tmp_path: Path) -> None:
    """Tables of another version stay so: others may be at work on them. It says what a start would do."""
    store = make_store(tmp_path)
    assert line(check(tmp_path), "store") == "✓ store: can be read, and its tables are those of this version"
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "at version 9999, newer than this relay's, which can work in them" in line(check(tmp_path), "store")
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("UPDATE store_compatibility SET oldest = '9998'")
    assert line(check(tmp_path), "store").startswith("✗ store: the store was made by a newer relay")


def test_check_runs_beside_a_relay(tmp_path: Path) -> None:
    """The lock of the relay does not block it."""
    make_store(tmp_path)

    async def beside() -> Result:
        store = await Store.open(f"sqlite:///{tmp_path}/data/relay.db")
        try:
            return await asyncio.to_thread(check, tmp_path)
        finally:
            await store.aclose()

    assert line(asyncio.run(beside()), "store").startswith("✓")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    """Reported before the start, with what to do."""
    (tmp_path / "data").mkdir(mode=0o500)
    assert "give storage.url a folder" in line(check(tmp_path), "store")


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("https://10.1.2.3/x", "security.allow_networks"),
        ("https://nowhere.invalid/x", "is the URL right"),
        ("https://localtest.example.invalid:8443/secret-path", "name server"),
    ],
)
def test_check_finds_an_endpoint_that_can_not_be_called(tmp_path: Path, url: str, advice: str) -> None:
    """Checked as at a delivery: its name is resolved, nothing is called, its path is not shown. Exit code 1."""
    found = check(tmp_path, endpoints=[{"name": "ops", "url": url}])
    assert found.exit_code == 1
    said = line(found, "endpoint ops")
    assert said.startswith("✗")
    assert advice in said
    assert "secret-path" not in found.output


def test_check_accepts_an_address_of_allow_networks(tmp_path: Path) -> None:
    """The operator allowed it."""
    security = {"allow_networks": ["10.1.2.3/32"]}
    found = check(tmp_path, endpoints=[{"name": "ops", "url": "https://10.1.2.3/x"}], security=security)
    assert line(found, "endpoint ops").startswith("✓ endpoint ops: https://10.1.2.3/… in format standard")


def test_check_of_an_endpoint_that_is_pulled_dials_nothing(tmp_path: Path) -> None:
    """It has no host; the check says how it is read."""
    found = check(tmp_path, endpoints=[{"name": "warehouse", "url": "pull:"}])
    said = line(found, "endpoint warehouse")
    assert said == "✓ endpoint warehouse: is pulled; `relay events --follow --endpoint warehouse` reads it"


def test_a_wide_network_that_may_name_users_is_warned_about(tmp_path: Path) -> None:
    """With what it means; one address, or a few, are no reason for it."""
    server = {"public_url": "https://relay.example", "trusted_user_header": "Remote-User"}
    wide = check(tmp_path, server=server | {"trusted_proxies": ["172.18.0.0/16", "::ffff:10.0.0.0/104", "10.0.0.5"]})
    warnings = [line for line in wide.output.splitlines() if line.startswith("! login by a proxy")]
    assert [line.split(": ")[1].split(" ")[0] for line in warnings] == ["172.18.0.0/16", "10.0.0.0/8"]
    assert "each can log in as anybody by Remote-User" in warnings[0]
    few = check(tmp_path, server=server | {"trusted_proxies": ["10.0.0.0/24", "10.1.0.5"]})
    assert "! login by a proxy" not in few.output
    assert "✓ login by a proxy: the header Remote-User names the user; by default: read" in few.output


def test_advice_does_not_fail_the_check(tmp_path: Path) -> None:
    """Unencrypted secrets and a missing public URL are advice, each with the key to set."""
    found = check(tmp_path)
    assert line(found, "secrets").startswith("! secrets: not encrypted, because security.secret_key is not set")
    assert "because server.public_url is not set" in line(found, "Exec's callbacks")
    assert line(found, "API keys").startswith("! API keys: none, so the relay answers its own machine only")
    server = {"public_url": "https://relay.example"}
    assert "name it in server.trusted_proxies" in line(check(tmp_path, server=server), "proxies")
    better = check(
        tmp_path,
        server=server | {"trusted_proxies": ["127.0.0.1"]},
        security={"secret_key": "s" * 32, "api_keys": ["k" * 24]},
        endpoints=[{"name": "ops", "url": "https://93.184.216.34/x"}],
    )
    assert "\n! " not in better.output
    assert line(better, "budget of workspace default").startswith("✓ budget of workspace default: 48 polls a minute")


def test_a_public_address_without_api_keys_fails_the_check(tmp_path: Path) -> None:
    """A key in the configuration or in the store is enough."""
    open_to_others = {"host": "0.0.0.0"}  # noqa: S104
    assert line(check(tmp_path, server=open_to_others), "API keys").startswith(
        "✗ API keys: server.host is open to others"
    )
    public = {"public_url": "https://relay.example"}
    assert line(check(tmp_path, server=public), "API keys").startswith(
        "✗ API keys: server.public_url is set, and there"
    )
    configured = check(tmp_path, server=open_to_others, security={"api_keys": ["k" * 24]})
    assert line(configured, "API keys") == "✓ API keys: 1; `relay keys list` shows them"
    config = str(tmp_path / "config.yaml")
    assert CliRunner().invoke(main, ["keys", "create", "ops", "--scope", "read", "--config", config]).exit_code == 0
    assert line(check(tmp_path, server=open_to_others), "API keys") == "✓ API keys: 1; `relay keys list` shows them"


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"])
def test_proxy_variables_that_are_not_used_are_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay calls nothing through them; with both settings there is nothing to warn of, and no password shown."""
    for variable in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    assert "HTTP proxy" not in check(tmp_path).output
    monkeypatch.setenv(name, "http://user:hunter2@proxy.example:3128")
    assert line(check(tmp_path), "HTTP proxy") == (
        f"! HTTP proxy: {name} set, but the relay uses only exec.proxy and delivery.proxy; not set: exec.proxy, "
        "delivery.proxy"
    )
    proxy = {"proxy": "http://user:hunter2@127.0.0.1:9"}
    configured = check(
        tmp_path,
        exec={"api_key": "k" * 40, "base_url": "http://127.0.0.1:9/rest/v1"} | proxy,
        delivery=proxy,
    )
    assert "✓ HTTP proxy: exec.proxy is http://127.0.0.1:9\n" in configured.output
    assert "✓ HTTP proxy: delivery.proxy is http://127.0.0.1:9\n" in configured.output
    assert "! HTTP proxy" not in configured.output
    assert "hunter2" not in configured.output


def test_variables_that_set_nothing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of Kubernetes once, and those that probably mean a key."""
    monkeypatch.setenv("RELAY_PORT", "tcp://10.0.0.1:8080")
    assert "set by Kubernetes for a service" in line(check(tmp_path), "environment")
    monkeypatch.setenv("RELAY_PORT", "9000")
    assert 'RELAY_PORT: not a variable of the relay, and not used; did you mean "RELAY_SERVER__PORT"?' in line(
        check(tmp_path), "environment"
    )


def test_check_says_if_nobody_will_be_notified(tmp_path: Path) -> None:
    """Without a standing endpoint in the configuration or in the store."""
    assert "registered without a callback URL notifies nobody" in line(check(tmp_path), "endpoints")
    make_store(tmp_path)
    assert line(check(tmp_path), "endpoints").startswith("! endpoints: no standing endpoint")

    async def add(disabled_at: int | None) -> None:
        store = await Store.open(f"sqlite:///{tmp_path}/data/relay.db")
        endpoint = make_endpoint(id=f"ep_{disabled_at}", kind=EndpointKind.STANDING, disabled_at=disabled_at)
        await store.write(lambda tx: endpoints.add(tx, endpoint))
        await store.aclose()

    asyncio.run(add(NOON))
    assert line(check(tmp_path), "endpoints").startswith("! endpoints: no standing endpoint")
    asyncio.run(add(None))
    assert "! endpoints" not in check(tmp_path).output


def test_check_says_if_nothing_is_sent(tmp_path: Path) -> None:
    """A restored store looks fine, and sends nothing until somebody decides."""
    make_store(tmp_path)
    assert "sending" not in check(tmp_path).output.split("endpoints: ")[0]
    suspended = CliRunner().invoke(main, ["sending", "suspend", "--config", str(tmp_path / "config.yaml")])
    assert suspended.exit_code == 0, suspended.output
    found = line(check(tmp_path), "sending")
    assert found.startswith("! sending: suspended since ")
    assert found.endswith("`relay sending resume` sends them, `relay sending discard` cancels them")


def test_check_counts_no_endpoint_that_is_for_the_operator_alone(tmp_path: Path) -> None:
    """It gets news about the relay, and no events of jobs."""
    ops = {"name": "ops", "url": "https://93.184.216.34/x", "events": []}
    only = check(tmp_path, endpoints=[ops], operator={"endpoints": ["ops"]})
    assert line(only, "endpoints").startswith("! endpoints: no standing endpoint")
    configured = check(tmp_path, endpoints=[{"name": "ops", "url": "https://93.184.216.34/x"}])
    assert "! endpoints" not in configured.output


async def test_a_sample_is_sent_to_each_endpoint(tmp_path: Path) -> None:
    """To those of the configuration and of the store, signed with the secrets they have; each answer is shown, and the
    message says that it is a sample. Nothing is stored."""
    receiver = Receiver(SECRET, system_clock)
    receiver.script(Respond(status=404), path="/gone")
    async with serve(receiver.app) as url:
        store = await Store.open(f"sqlite:///{tmp_path}/data/relay.db")
        stored = make_endpoint(
            id="ep_stored", name="stored", url=f"{url}/stored", secrets=(Secret(SECRET),), kind=EndpointKind.STANDING
        )
        await store.write(lambda tx: endpoints.add(tx, stored))
        await store.aclose()
        named = [{"name": name, "url": f"{url}/{name}", "secret": SECRET} for name in ("crm", "gone")]
        security = {"allow_http": True, "allow_networks": ["127.0.0.0/8"]}
        found = await asyncio.to_thread(partial(check, tmp_path, "--send", endpoints=named, security=security))
    assert line(found, "sample to endpoint crm").startswith("✓ sample to endpoint crm: answered 204 in ")
    assert line(found, "sample to endpoint stored").startswith("✓ sample to endpoint stored: answered 204 in ")
    assert "answered 404" in line(found, "sample to endpoint gone")
    assert found.exit_code == 1
    assert sorted(one.path for one in receiver.received) == ["/crm", "/gone", "/stored"]
    assert all(one.verified for one in receiver.received)
    assert not any(word in found.output for word in (SECRET, f"{url}/crm"))

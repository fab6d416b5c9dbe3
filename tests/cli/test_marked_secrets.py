"""Verbs on a store that is full of marked secrets: nothing that they print holds one."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from relay import config as configuration
from relay import registration
from relay.cli import COMMANDS, main
from relay.endpoints import EndpointSpec
from relay.service import Relay
from relay.store.maintenance.reencrypt import open_store
from tests import marked

LOOP = {"serve", "demo", "sandbox", "receive"}
"""What runs until it is stopped: `tests/e2e` has these."""
CALLED: dict[str, list[list[str]]] = {
    "keys": [["list"], ["list", "--all", "--json"], ["create", "ops", "--scope", "read"], ["revoke", "ops"]],
    "backup": [["FOLDER/copy.db"], ["FOLDER/copy.db"]],
    "restore": [["FOLDER/relay.db", "--yes"]],
    "plan": [[], ["--json"], ["--workspace", marked.URL_TOKEN]],
}
"""The arguments of a command besides `--config`, if it needs some."""


def sections(folder: Path, **security: Any) -> dict[str, Any]:
    return {
        "exec": {"api_key": marked.EXEC_KEY, "base_url": "http://127.0.0.1:9/rest/v1", "timeout": "1s"},
        "storage": {"url": f"sqlite:///{folder}/relay.db"},
        "security": {"api_keys": [marked.API_KEY], "secret_key": marked.SECRET_KEY, "allow_http": True} | security,
        "endpoints": [
            {
                "name": "a",
                "url": f"https://hooks.example/services/{marked.URL_TOKEN}",
                "secret": marked.SIGNING,
                "headers": {"x-key": marked.HEADER},
            }
        ],
    }


async def fill(config: configuration.Config) -> None:
    """Stores endpoints, a token, and a registration with its own URL and headers."""
    relay = Relay(config, await open_store(config.storage.url, config.security.cipher()))
    await relay.start()
    callback = EndpointSpec(f"https://x.example/{marked.URL_TOKEN}", secret=marked.OTHER_SIGNING)
    asked = registration.RegistrationSpec(
        job_id="j1", workspace=None, callback=callback, endpoint=None, events=None, metadata={"a": marked.PASSWORD}
    )
    checked = registration.validate(asked, relay.rules, relay.clients)
    await relay.store.write(lambda tx: registration.register(tx, checked, relay.clock()))
    await relay.stop()


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """The folder of a configuration and a store."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(sections(tmp_path)))
    asyncio.run(fill(configuration.from_mapping(sections(tmp_path))))
    return tmp_path


@pytest.mark.parametrize("verb", [verb for verb in COMMANDS if verb not in LOOP])
@pytest.mark.parametrize("sealed_as", ["it is", "another key has it"])
def test_no_verb_on_a_full_store_prints_a_secret(verb: str, sealed_as: str, full: Path) -> None:
    """With the right and with another secret key. New commands are called automatically."""
    if sealed_as != "it is":
        (full / "config.yaml").write_text(yaml.safe_dump(sections(full, secret_key=marked.SECRET_KEY[::-1])))
    for arguments in CALLED.get(verb, [[]]):
        given = [one.replace("FOLDER", str(full)) for one in arguments]
        where = ["--config", str(full / "config.yaml")]
        environ = {"RELAY_URL": "http://127.0.0.1:9", "RELAY_API_KEY": marked.API_KEY}
        done = CliRunner().invoke(main, [verb, *given, *where], env=environ)
        if "No such option '--config'" in done.output:
            done = CliRunner().invoke(main, [verb, *given], env=environ)
        assert done.output or verb == "mcp", "a server on standard output says nothing that no client asks for"
        assert marked.found_in(done.output) == [], verb
        assert marked.found_in(repr(done.exception)) == [], verb


def test_the_store_is_full(full: Path) -> None:
    """Opened with its key, it holds the secrets that the test above searches for, or that test would show nothing."""
    done = CliRunner().invoke(main, ["doctor", "--config", str(full / "config.yaml")])
    assert "- endpoints: 2" in done.output
    assert "- registrations: 1" in done.output

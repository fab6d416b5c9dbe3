"""`relay sending` and `relay audit`: on the store itself, before a relay starts or while one runs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from relay.cli import main
from relay.store.engine.database import Store

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, store_url: str, store: Store) -> Run:
    """A command, with a configuration on a store that a relay may have open."""
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump({"exec": {"api_key": "k" * 40}, "storage": {"url": store_url}})
    )

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(main, [*words, "--config", str(tmp_path / "config.yaml")])

    return invoke


def test_sending_is_suspended_and_resumed_in_the_store(run: Run) -> None:
    """Each step says what is so now; the audit log names the user of the operating system."""
    assert "✓ deliveries are sent" in run("sending", "status").output
    assert run("sending", "discard", "--yes").exit_code == 2
    assert "nothing is sent until `relay sending resume`" in run("sending", "suspend").output
    assert "suspended already" in run("sending", "suspend").output
    shown = run("sending", "status").output
    assert "because it was suspended by hand" in shown
    assert json.loads(run("sending", "status", "--json").stdout)["suspended"] is True
    assert "✓ 0 deliveries are cancelled" in run("sending", "discard", "--yes").output
    assert "was not suspended" in run("sending", "resume").output
    lines = [json.loads(line) for line in run("audit", "--json").stdout.splitlines()]
    assert [(line["action"], line["via"]) for line in lines] == [
        ("sending.discarded", "command"),
        ("sending.suspended", "command"),
    ]
    assert all(line["user"] for line in lines)


def test_keys_are_in_the_audit_log(run: Run) -> None:
    """By name and id, also after they were revoked; never the key itself."""
    made = run("keys", "create", "zapier", "--scope", "register")
    run("keys", "revoke", "zapier")
    output = run("audit", "--json").stdout
    revoked, created = map(json.loads, output.splitlines())
    assert (created["action"], created["name"], created["detail"]) == (
        "key.created",
        "zapier",
        {"scopes": ["register"]},
    )
    assert (revoked["action"], revoked["name"], revoked["target"]) == ("key.revoked", "zapier", created["target"])
    assert made.stdout.splitlines()[0] not in output
    table = run("audit", "--action", "key.revoked").stdout.splitlines()
    assert len(table) == 2
    assert "zapier" in table[1]

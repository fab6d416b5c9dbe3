"""`relay rotate-key`, `relay check` and `relay serve` on stores that are sealed, or should be."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from relay.cli import main
from relay.security import FieldCipher
from relay.store.maintenance.reencrypt import open_store
from relay.store.tables import endpoints
from tests.make import make_endpoint

OLD, NEW = "o" * 32, "n" * 32
MARKED = "hunter2hunter2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a store that is encrypted with OLD."""

    async def fill() -> None:
        store = await open_store(f"sqlite:///{tmp_path}/relay.db", FieldCipher(OLD))
        await store.write(lambda tx: endpoints.add(tx, make_endpoint(url=f"https://example.com/{MARKED}")))
        await store.aclose()

    asyncio.run(fill())
    return tmp_path


def run(folder: Path, verb: str, **security: Any) -> Result:
    config = {
        "exec": {"api_key": "k" * 40, "base_url": "http://127.0.0.1:9/rest/v1"},
        "storage": {"url": f"sqlite:///{folder}/relay.db"},
        "server": {"port": 0},
        "security": security,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return CliRunner().invoke(main, [verb, "--config", str(folder / "config.yaml")])


def test_rotate_key_encrypts_everything_with_the_new_key(folder: Path) -> None:
    """It needs both keys; then the old key is useless, and not needed."""
    done = run(folder, "rotate-key", secret_key=NEW, old_secret_keys=[OLD])
    assert (done.exit_code, "1 of 1" in done.output, "✓ 1 rows" in done.output) == (0, True, True), done.output
    assert str(FieldCipher(NEW).key_id) in done.output
    again = run(folder, "rotate-key", secret_key=NEW)
    assert (again.exit_code, "✓ 0 rows" in again.output) == (0, True)
    refused = run(folder, "rotate-key", secret_key=OLD)
    assert (refused.exit_code, "security.old_secret_keys" in refused.output) == (1, True)
    assert not {OLD, NEW, MARKED} & set((done.output + again.output + refused.output).split())


def test_rotate_key_is_in_the_audit_log(folder: Path) -> None:
    """By the user who ran it, with the new key's fingerprint; once, and not if no row changed."""
    for _ in range(2):
        assert run(folder, "rotate-key", secret_key=NEW, old_secret_keys=[OLD]).exit_code == 0
    output = CliRunner().invoke(main, ["audit", "--json", "--config", str(folder / "config.yaml")]).stdout
    [entry] = map(json.loads, output.splitlines())
    assert (entry["action"], entry["via"], entry["target"], entry["detail"]) == (
        "store.reencrypted",
        "command",
        FieldCipher(NEW).key_id,
        {"rows": 1},
    )
    assert entry["user"]
    assert not any(secret in output for secret in (OLD, NEW, MARKED))


@pytest.mark.usefixtures("logging_restored")
@pytest.mark.parametrize(
    ("security", "expected"), [({}, "not set"), ({"secret_key": NEW}, str(FieldCipher(OLD).key_id))]
)
def test_serve_and_check_fail_without_the_right_secret_key(
    folder: Path, security: dict[str, Any], expected: str
) -> None:
    """Without the key or with another one, both say what to do."""
    for verb in ("serve", "check"):
        refused = run(folder, verb, **security)
        assert refused.exit_code == 1, verb
        assert "security.secret_key" in refused.output
        assert expected in refused.output
        assert MARKED not in refused.output


def test_there_is_nothing_to_rotate_without_a_key(folder: Path) -> None:
    """Without any key it is wrong usage, and says how to get one."""
    refused = run(folder, "rotate-key")
    assert (refused.exit_code, "relay keygen --secret" in refused.output) == (2, True)


def test_check_says_if_secrets_are_encrypted(tmp_path: Path) -> None:
    """Without a key it names the risk; with one it says that they are encrypted."""
    assert "security.secret_key is not set" in run(tmp_path, "check").output
    assert "✓ secrets: encrypted" in run(tmp_path, "check", secret_key=NEW).output


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    """It could be found by trying; the error does not repeat it."""
    refused = run(tmp_path, "check", secret_key=MARKED)
    assert (refused.exit_code, "at least 32 characters" in refused.output) == (2, True)
    assert MARKED not in refused.output

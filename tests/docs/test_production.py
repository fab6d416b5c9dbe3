"""The production page, typed unchanged: the same commands, with processes in place of containers."""

import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.sandbox.exec_server import SANDBOX_KEY, FakeExec
from relay.sandbox.receiver import Receiver
from tests.docs.machine import SLACK, Machine, machine_beside_exec
from tests.docs.pages import DOCS, ROOT, commands
from tests.node import needs

TYPED = commands((DOCS / "production.md").read_text())


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[tuple[Machine, FakeExec, Receiver, str]]:
    """With a checkout in the machine's folder."""
    shutil.copy(ROOT / "compose.yaml", tmp_path)
    async with machine_beside_exec(tmp_path) as made:
        yield made


async def test_every_command_of_the_production_page_works(world: tuple[Machine, FakeExec, Receiver, str]) -> None:
    """From the keys to a notified channel, a backup and a newer version, with only the page's commands."""
    needs("curl", "the way into production")
    machine, exec, receiver, channel = world
    job, said = exec.add(lasts=1), dict[str, str]()
    for command in TYPED:
        typed = command.replace("exec_live_...", SANDBOX_KEY).replace(SLACK, channel)
        said[command] = await machine.type(typed.replace("JOB_ID", job.id))
    assert "✗" not in said["docker compose run --rm relay check"]
    assert "✓ Exec workspace default: accepts the key" in said["docker compose run --rm relay check"]
    assert json.loads(said["curl -s http://localhost:8080/readyz"])["status"] == "ready"
    [tested] = [answer for command, answer in said.items() if "endpoints test" in command]
    assert "✓ delivered 204" in tested
    [_, told] = await receiver.wait_for(2, path="/channel")
    assert json.loads(told.body)["data"]["job"]["id"] == job.id
    assert re.search(r"data/relay-[\d-]+\.db: [\d.]+ MB, complete and checked", "".join(said.values()))
    assert (machine.folder / ".env").stat().st_mode & 0o077 == 0


def test_the_production_page_contains_commands() -> None:
    """The test above finds commands up to the last step."""
    assert len(TYPED) >= 12
    assert TYPED[-1] == "docker compose up -d --wait"

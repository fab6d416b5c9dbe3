"""The production page, typed unchanged: the same commands, with processes in place of containers."""

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from relay.process import system_clock
from relay.sandbox.exec_server import BASE, SANDBOX_KEY, ExecSettings, FakeExec
from relay.sandbox.local_server import serve
from relay.sandbox.rate_limits import UNLIMITED
from relay.sandbox.receiver import Receiver
from tests.docs.compose import OVER, environment, root_of
from tests.docs.pages import DOCS, ROOT, commands
from tests.docs.processes import listening
from tests.e2e.conftest import free_port
from tests.make import SECRET
from tests.node import needs

TYPED = commands((DOCS / "production.md").read_text())
SLACK = "https://hooks.slack.com/services/T000/B000/XXXX"


class Machine:
    """A checkout of the project on a machine of its own: files, one shell, and the relay where it was started."""

    def __init__(self, folder: Path, over: dict[str, str]) -> None:
        self.folder, self.over, self.port = folder, over, over["RELAY_SERVER__PORT"]
        self.relay: asyncio.subprocess.Process | None = None
        self.settings: list[str] = []
        """What was said to the shell for all that follows."""
        shutil.copy(ROOT / "compose.yaml", folder)
        shim = folder / "bin/docker"
        shim.parent.mkdir()
        shim.write_text(f'#!/bin/sh\n[ "$1" = compose ] && shift\nexec {sys.executable} -m tests.docs.compose "$@"\n')
        shim.chmod(0o755)

    async def type(self, command: str) -> str:
        """The command's output."""
        if command == "docker compose up -d --wait":
            await self._up()
            return ""
        if command.startswith(("export ", "umask ")):
            self.settings.append(command)
        return await self._run("; ".join([*self.settings, command.replace(":8080", f":{self.port}")]))

    async def _run(self, command: str) -> str:
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        known = {"PATH": path, "PYTHONPATH": str(ROOT), OVER: json.dumps(self.over)}
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", command), cwd=self.folder, env=known, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, f"{command}\n{said.decode()}"
        return said.decode()

    async def _up(self) -> None:
        await self.down()
        log = self.folder / "relay.log"
        known = environment("relay", self.folder) | self.over
        with log.open("ab") as out:
            self.relay = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "relay", "serve"), env=known, cwd=root_of(self.folder), stdout=out, stderr=out
            )
        await listening(int(self.port), self.relay, log)
        async with httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(30):
            while (await http.get(f"http://127.0.0.1:{self.port}/readyz?exclude=exec")).status_code != 200:
                await asyncio.sleep(0.02)

    async def down(self) -> None:
        """SIGTERM, as a container engine sends it."""
        if self.relay is not None:
            with suppress(ProcessLookupError):
                self.relay.terminate()
            assert await asyncio.wait_for(self.relay.wait(), 30) == 0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[tuple[Machine, FakeExec, Receiver, str]]:
    """The machine, a stand-in for Exec, and a receiver with its URL."""
    exec, receiver = FakeExec(ExecSettings(limits=UNLIMITED, seed=3), system_clock), Receiver(SECRET, system_clock)
    async with serve(exec.app) as exec_url, serve(receiver.app) as receiver_url:
        over = {
            "RELAY_SERVER__HOST": "127.0.0.1",
            "RELAY_SERVER__PORT": str(free_port()),
            "RELAY_URL": "",
            "RELAY_EXEC__BASE_URL": exec_url + BASE,
            "RELAY_SECURITY__ALLOW_HTTP": "true",
            "RELAY_SECURITY__ALLOW_NETWORKS": "[127.0.0.1/32]",
        }
        over["RELAY_URL"] = f"http://127.0.0.1:{over['RELAY_SERVER__PORT']}"
        machine = Machine(tmp_path, over)
        yield machine, exec, receiver, f"{receiver_url}/channel"
        await machine.down()


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

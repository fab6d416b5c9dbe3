"""A machine with Docker, for pages that are typed unchanged: the same commands, with processes as containers."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from relay.process import system_clock
from relay.sandbox.exec_server import BASE, ExecSettings, FakeExec
from relay.sandbox.job_simulation import JobProfile
from relay.sandbox.local_server import serve
from relay.sandbox.rate_limits import UNLIMITED
from relay.sandbox.receiver import Receiver
from tests.docs.compose import OVER, PROGRAM, environment, root_of
from tests.docs.pages import ROOT
from tests.docs.processes import listening, ready
from tests.e2e.conftest import free_port
from tests.forking import processes
from tests.make import SECRET

SLACK = "https://hooks.slack.com/services/T000/B000/XXXX"
"""The webhook of the pages."""


class Machine:
    """A machine of its own with Docker: one shell, in a folder with a checkout of the project, and the relay that it
    started. Containers are processes."""

    def __init__(self, folder: Path, over: dict[str, str]) -> None:
        self.folder, self.over, self.port = folder, over, over["RELAY_SERVER__PORT"]
        self.relay: processes.Process | None = None
        self.settings: list[str] = []
        """What was said to the shell for all that follows."""
        shim = folder / "bin/docker"
        shim.parent.mkdir()
        self._programs = shim.parent
        compose = " ".join(processes.command("tests.docs.compose"))
        shim.write_text(f'#!/bin/sh\n[ "$1" = compose ] && shift\nexec {compose} "$@"\n')
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
        path = f"{self._programs}:{os.environ['PATH']}"
        known = {"PATH": path, "PYTHONPATH": str(ROOT), OVER: json.dumps(self.over)}
        known[PROGRAM] = json.dumps(processes.command())
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
            self.relay = processes.start(["relay", "serve"], known, root_of(self.folder), out.fileno())
        await listening(int(self.port), self.relay, log)
        await ready(int(self.port))

    async def down(self) -> None:
        """SIGTERM, as a container engine sends it."""
        if self.relay is not None:
            with suppress(ProcessLookupError):
                self.relay.terminate()
            assert await asyncio.wait_for(self.relay.wait(), 30) == 0


@asynccontextmanager
async def machine_beside_exec(folder: Path) -> AsyncIterator[tuple[Machine, FakeExec, Receiver, str]]:
    """The machine, a stand-in for Exec, and a receiver with its URL."""
    settings = ExecSettings(limits=UNLIMITED, seed=3, profile=JobProfile(speed=300))
    exec, receiver = FakeExec(settings, system_clock), Receiver(SECRET, system_clock)
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
        machine = Machine(folder, over)
        yield machine, exec, receiver, f"{receiver_url}/channel"
        await machine.down()

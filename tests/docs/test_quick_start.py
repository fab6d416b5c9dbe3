"""The quick start, and the four lines of the README, typed unchanged."""

import asyncio
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from relay.process import system_clock
from relay.sandbox.exec_server import BASE, SANDBOX_KEY, ExecSettings, FakeExec
from relay.sandbox.local_server import serve
from relay.sandbox.rate_limits import UNLIMITED
from relay.sandbox.receiver import Receiver
from tests.docs.machine import SLACK
from tests.docs.pages import DOCS, ROOT, sections
from tests.docs.processes import listening, ready
from tests.e2e.conftest import free_port
from tests.make import SECRET
from tests.node import needs

COMMANDS = sections(DOCS / "quick-start.md")["Piece by piece"].commands
PORTS = {"sandbox": "4010", "receive": "4020", "serve": "8080"}
"""Of the verbs that go on until they are stopped; the tests take free ones."""
WITHIN = 30.0


class Terminal:
    """A folder with the relay's command in it, as a checkout has after `make demo`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {verb: str(free_port()) for verb in PORTS}
        self.running: dict[str, asyncio.subprocess.Process] = {}
        self.over: dict[str, str] = {}
        """Variables of the environment beside the usual ones."""
        (folder / ".venv/bin").mkdir(parents=True)
        shim = folder / ".venv/bin/relay"
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m relay "$@"\n')
        shim.chmod(0o755)

    async def type(self, command: str) -> str:
        """The command's output; nothing for one that keeps running, once it listens."""
        for verb, port in PORTS.items():
            command = command.replace(f":{port}", f":{self.ports[verb]}")
        command = command.replace("--speed 10", "--speed 100")
        verb = next((verb for verb in PORTS if f"relay {verb}" in command), "")
        if verb in ("sandbox", "receive"):
            command += f" --port {self.ports[verb]}"
        log = self.folder / f"{verb}.txt"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *("sh", "-c", command), cwd=self.folder, env=self._environ(), stdout=out, start_new_session=True
            )
        if not verb:
            assert await asyncio.wait_for(process.wait(), WITHIN) == 0, command
            return log.read_text()
        self.running[verb] = process
        await listening(int(self.ports[verb]), process, log)
        if verb == "serve":
            await ready(int(self.ports[verb]))
        return ""

    def printed(self, verb: str) -> str:
        """The output so far of a command that keeps running."""
        return (self.folder / f"{verb}.txt").read_text()

    def stop(self) -> None:
        for process in self.running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def _environ(self) -> dict[str, str]:
        told = {"RELAY_SERVER__PORT": self.ports["serve"], "RELAY_URL": f"http://127.0.0.1:{self.ports['serve']}"}
        return (
            {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
            | told
            | self.over
        )


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    opened = Terminal(tmp_path)
    yield opened
    opened.stop()
    await asyncio.gather(*(process.wait() for process in opened.running.values()))


async def test_every_command_of_the_quick_start_works(terminal: Terminal) -> None:
    """From the stand-in to a verified notification, with only the page's commands."""
    needs("curl", "the quick start")
    job_id, said = "", {}
    for command in COMMANDS:
        command = command.replace("JOB_ID", job_id)
        if "endpoints add" in command:
            await until(lambda: "login?token=" in terminal.printed("serve"), "the relay to print its token")
        if "relay jobs" in command:
            await until(partial(notified, terminal, job_id), "the receiver to hear of the job")
        said[command] = await terminal.type(command)
        if "scenario-studio/jobs" in command:
            job_id = json.loads(said[command])["id"]
    assert re.search(rf"job\.completed +{job_id} .*✓ verified", terminal.printed("receive"))
    jobs, deliveries = list(said.values())[-2:]
    assert job_id in jobs
    assert "delivered" in deliveries


def notified(terminal: Terminal, job_id: str) -> bool:
    return job_id in terminal.printed("receive")


async def test_the_readmes_four_lines_lead_to_a_slack_message(terminal: Terminal) -> None:
    """From an Exec key to the channel: the first has put the command there, the others are typed."""
    first, export, run, register = sections(ROOT / "README.md")["The relay"].commands[-4:]
    assert first == "make demo"
    exec, receiver = FakeExec(ExecSettings(limits=UNLIMITED, seed=1), system_clock), Receiver(SECRET, system_clock)
    shutil.copy(ROOT / "config.example.yaml", terminal.folder)
    async with serve(exec.app) as exec_url, serve(receiver.app) as receiver_url:
        terminal.over = {
            "RELAY_EXEC__BASE_URL": exec_url + BASE,
            "RELAY_SECURITY__ALLOW_HTTP": "true",
            "RELAY_SECURITY__ALLOW_NETWORKS": "[127.0.0.1/32]",
        }
        name, _, value = export.removeprefix("export ").partition("=")
        terminal.over[name] = value.replace("exec_live_...", SANDBOX_KEY)
        await terminal.type(run)
        typed = register.replace("JOB_ID", exec.add(lasts=1).id).replace(SLACK, f"{receiver_url}/channel")
        await terminal.type(f"{typed} --format slack")
        [told] = await receiver.wait_for(1, path="/channel")
    assert b'"blocks"' in told.body


async def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN
    while not holds():
        assert time.monotonic() < deadline, f"waited too long for {what}"
        await asyncio.sleep(0.02)

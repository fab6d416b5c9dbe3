"""Registering from programs: the snippets create a job at the stand-in, and the relay watches it."""

import asyncio
import os
import shlex
import sys
from pathlib import Path

import pytest

from relay import config
from relay.process import system_clock
from relay.sandbox.exec_server import BASE, SANDBOX_KEY, ExecSettings, FakeExec
from relay.sandbox.local_server import serve
from relay.service import Relay
from relay.web.app import create_app
from tests.docs.pages import DOCS, sections
from tests.loopback import http_client
from tests.node import needs

PAGE = sections(DOCS / "how-to/registering.md")
EXEC = "https://api.exec.com/rest/v1"
RELAY = "https://relay.example.com"
KEY = "relay_" + "d" * 43


@pytest.mark.parametrize("language", ["From Python", "From JavaScript"])
async def test_a_program_creates_and_registers(tmp_path: Path, language: str) -> None:
    """Started as the page says, it prints the id of a registration that the relay has, for a job that Exec has."""
    if language == "From JavaScript":
        needs("node", "registering from JavaScript")
    exec = FakeExec(ExecSettings(seed=1), system_clock)
    async with serve(exec.app) as exec_url:
        settings = {
            "exec": {"base_url": f"{exec_url}{BASE}", "api_key": SANDBOX_KEY},
            "storage": {"url": f"sqlite:///{tmp_path}/relay.db"},
            "security": {"api_keys": [{"name": "docs", "key": KEY}]},
        }
        async with serve(create_app(await Relay.open(config.from_mapping(settings)))) as url:
            said = await run(PAGE[language].files, PAGE[language].commands[0], exec_url, url, tmp_path)
            async with http_client(headers={"authorization": f"Bearer {KEY}"}, trust_env=False) as http:
                found = (await http.get(f"{url}/v1/registrations/{said}")).raise_for_status().json()
                job = (await http.get(f"{url}/v1/jobs/{found['job_id']}")).raise_for_status().json()
    assert found["status"] == "active"
    assert job["state"] == "active"
    assert len(exec.records.requests) >= 1


async def run(files: dict[str, str], command: str, exec_url: str, url: str, folder: Path) -> str:
    """The program's output."""
    for name, code in files.items():
        (folder / name).write_text(code.replace(EXEC, f"{exec_url}{BASE}"))
    command = command.replace("exec_live_...", SANDBOX_KEY).replace("relay_...", KEY).replace(RELAY, url)
    words = shlex.split(command)
    environ = {"PATH": os.environ["PATH"]}
    while "=" in words[0]:
        name, _, environ[name] = words.pop(0).partition("=")
    program = [sys.executable] if words[0] == "python" else words[:1]
    process = await asyncio.create_subprocess_exec(
        *program, *words[1:], cwd=folder, env=environ, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    return said.decode().strip()

"""The examples of the chapter *Wait*, run unchanged against sandbox and relay."""

import asyncio
import sys
from pathlib import Path

import pytest

from relay.client import verify
from relay.sandbox.exec_server import ExecSettings
from tests.docs.pages import DOCS, blocks
from tests.flows.conftest import api_of, world_on
from tests.node import ROOT, needs
from tests.web.waiting import KEY, end, served_relay

PAGE = (DOCS / "wait.md").read_text()
[CREATE, FOLLOW, READ] = blocks(PAGE, "python")
[JAVASCRIPT] = blocks(PAGE, "javascript")
ADDRESS = "http://127.0.0.1:8080"


@pytest.mark.parametrize("language", ["python", "javascript"])
async def test_a_scenario_is_created_and_its_url_printed(language: str, sqlite_url: str, tmp_path: Path) -> None:
    """The five lines, changed only in the relay's address and, for node, in the client's path."""
    needs("node" if language == "javascript" else "sh", "the example of the documentation")
    async with world_on(sqlite_url, ExecSettings(seed=1)) as world, api_of(world) as http:
        text = CREATE if language == "python" else JAVASCRIPT
        assert ADDRESS in text
        name = "example.py" if language == "python" else "example.mjs"
        client = (ROOT / "integrations/javascript/relay.js").as_uri()
        text = text.replace(ADDRESS, str(http.base_url)).replace('"exec-relay"', f'"{client}"')
        (tmp_path / name).write_text(text)
        program = [sys.executable] if language == "python" else ["node"]
        process = await asyncio.create_subprocess_exec(
            *program,
            str(tmp_path / name),
            stdout=asyncio.subprocess.PIPE,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/usr/local/bin:/bin"},
        )
        running = asyncio.create_task(process.communicate())
        async with asyncio.timeout(100):
            while not running.done():
                await world.advance(15_000)
                await asyncio.sleep(0.02)
        printed, _ = await running
        assert process.returncode == 0
        assert printed.decode().startswith("https://")


async def test_the_feed_is_followed_from_the_kept_cursor(sqlite_url: str, tmp_path: Path) -> None:
    """The program as it stands there, twice: the second run goes on where the first was stopped."""
    async with served_relay(sqlite_url) as served:
        environ = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "RELAY_URL": served.url, "RELAY_API_KEY": KEY}
        kept, cursor = tmp_path / "cursor", ""
        await served.register("j1", "j2")
        for job_id in ("j1", "j2"):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", FOLLOW, stdout=asyncio.subprocess.PIPE, env=environ, cwd=tmp_path
            )
            assert process.stdout is not None
            await end(served.relay, job_id)
            printed = await asyncio.wait_for(process.stdout.readline(), 60)
            async with asyncio.timeout(30):
                while not kept.exists() or kept.read_text() in ("", cursor):
                    await asyncio.sleep(0.01)
            cursor = kept.read_text()
            process.kill()
            await process.wait()
            assert printed.decode() == f"job.completed {job_id}\n"


def test_a_stored_event_is_verified_as_shown() -> None:
    """The snippet calls `verify` unchanged."""
    names: dict[str, object] = {}
    exec(compile(READ, "verify_stored.py", "exec"), names)  # noqa: S102 (a page of ours)
    assert names["verify"] is verify

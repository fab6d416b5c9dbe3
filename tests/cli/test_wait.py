"""`relay wait` and `relay events --follow`: exit codes, what they print, and what they survive."""

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from relay.cli import main
from relay.model import EventType
from tests.client.standins import Proxy
from tests.forking import processes
from tests.node import ROOT
from tests.web.waiting import KEY, Served, end, served_relay, started


@pytest.fixture
async def served(sqlite_url: str) -> AsyncIterator[Served]:
    async with served_relay(sqlite_url) as one:
        yield one


async def run(*words: str, url: str, key: str = KEY) -> Result:
    """Runs a verb to its end, on a thread, with a deadline: a test whose relay is gone fails, and does not hang.

    Nothing can end the thread. It is none that the interpreter waits for.
    """
    environ = {"RELAY_URL": url, "RELAY_API_KEY": key}
    loop, results = asyncio.get_running_loop(), asyncio.Queue[Result]()

    def invoke() -> None:
        result = CliRunner(env=environ).invoke(main, words)
        loop.call_soon_threadsafe(results.put_nowait, result)

    threading.Thread(target=invoke, daemon=True).start()
    return await asyncio.wait_for(results.get(), 60)


async def finish(served: Served, type: EventType = EventType.COMPLETED) -> None:
    """The job ends once the command waits for it."""
    await served.waits_open(1)
    await end(served.relay, "j1", type)


@pytest.mark.parametrize(
    ("type", "code", "words"),
    [
        (EventType.COMPLETED, 0, ""),
        (EventType.FAILED, 1, "relay: job j1: failed\n"),
        (EventType.CANCELLED, 1, "relay: job j1: cancelled\n"),
    ],
)
async def test_the_exit_code_is_the_jobs(served: Served, type: EventType, code: int, words: str) -> None:
    """0 completed, 1 failed or cancelled; standard output has the URL, or that there is none."""
    await served.register("j1")
    running = asyncio.create_task(run("wait", "j1", url=served.url))
    await finish(served, type)
    result = await running
    assert (result.exit_code, result.stderr) == (code, words)
    assert result.stdout == ("job j1 completed; Exec gave no URL\n" if code == 0 else "")


async def test_time_over_is_3(served: Served) -> None:
    """The job goes on; with --json standard output has what is known."""
    await served.register("j1")
    result = await run("wait", "j1", "--timeout", "1s", "--json", url=served.url)
    assert result.exit_code == 3
    assert json.loads(result.stdout)["ended"] is False
    assert "has not ended in time" in result.stderr


async def test_registering_is_part_of_it(served: Served) -> None:
    """An unknown job is an error that names the option; with it the job is watched and waited for."""
    unknown = await run("wait", "j1", url=served.url)
    assert unknown.exit_code == 1
    assert "relay wait --register" in unknown.stderr
    running = asyncio.create_task(run("wait", "j1", "--register", "--json", url=served.url))
    await finish(served)
    result = await running
    assert result.exit_code == 0
    assert json.loads(result.stdout)["job"]["status"] == "completed"


async def test_a_proxy_that_cuts_requests_off(served: Served) -> None:
    """504 as HTML for each wait: the command still ends with the job's own exit code."""
    await served.register("j1")
    proxy = Proxy(served.url, cut_after=0.2, troubles=["html", 502])
    async with proxy.served() as url:
        running = asyncio.create_task(run("wait", "j1", "--timeout", "3m", url=url))
        async with asyncio.timeout(30):
            while len(proxy.asked) < 5:
                await asyncio.sleep(0.02)
        await end(served.relay)
        assert (await running).exit_code == 0


@pytest.mark.parametrize("words", [("j1", "--timeout", "soon"), ("j1", "--timeout", "30"), ()])
async def test_wrong_usage_is_2(words: tuple[str, ...]) -> None:
    """And nothing is asked."""
    assert (await run("wait", *words, url="http://127.0.0.1:9")).exit_code == 2


@pytest.mark.parametrize("command", ["wait", "jobs", "deliveries", "resend"])
@pytest.mark.parametrize("pasted", ["https://relay.example/jobs/default/j1", "../v1/jobs", "j 1", "j1?wait=1"])
async def test_what_is_pasted_for_an_id_is_refused_as_such(command: str, pasted: str) -> None:
    """A page's address or a path is no id; nothing is asked, least of all at another path of the API."""
    result = await run(command, pasted, url="http://127.0.0.1:9")
    assert result.exit_code == 2
    assert "_ID is an id: 1 to 128 letters" in result.stderr


async def test_a_wrong_key_is_named(served: Served) -> None:
    """With the option that gives it."""
    result = await run("wait", "j1", url=served.url, key="relay_wrong")
    assert result.exit_code == 1
    assert "--key" in result.stderr


async def test_events_are_followed(served: Served) -> None:
    """One JSON object a line, as they come, from a cursor on."""
    await served.register("j1", "j2")
    await end(served.relay, "j1")
    process = await asyncio.create_subprocess_exec(
        *processes.command(),
        *("events", "--follow", "--json", "--after", "0"),
        env={"RELAY_URL": served.url, "RELAY_API_KEY": KEY, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            first: Any = json.loads(await process.stdout.readline())
            await started(served.relay, "j2")
            second: Any = json.loads(await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()
    assert (first["job_id"], second["job_id"], second["type"]) == ("j1", "j2", "job.started")


async def test_events_of_an_endpoint_are_signed(served: Served) -> None:
    """With --endpoint the list is that of a pulled endpoint: its kinds of events, with signatures."""
    made = await served.http.post("/v1/endpoints", json={"name": "w", "url": "pull:", "events": ["job.failed"]})
    assert made.status_code == 201
    await served.register("j1", "j2")
    await end(served.relay, "j1")
    await end(served.relay, "j2", EventType.FAILED)
    result = await run("events", "--endpoint", "w", "--json", url=served.url)
    assert result.exit_code == 0
    rows = json.loads(result.stdout)
    rows = rows["data"] if isinstance(rows, dict) else rows
    assert [row["job_id"] for row in rows] == ["j2"]
    assert "webhook-signature" in rows[0]["signed"]["headers"]


async def test_events_are_listed(served: Served) -> None:
    """Without --follow: a table, newest first."""
    await served.register("j1")
    await end(served.relay, "j1")
    result = await run("events", url=served.url)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].startswith("job.completed\tj1\t")


async def test_the_action_sets_outputs(served: Served, tmp_path: Path) -> None:
    """The GitHub Action's script: outputs for the next steps, and the command's exit code."""
    await served.register("j1")
    outputs = tmp_path / "outputs"
    environ = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "RELAY_URL": served.url,
        "RELAY_API_KEY": KEY,
        "JOB": "j1",
        "REGISTER": "true",
        "TIMEOUT": "1m",
        "PACKAGE": "exec-relay",
        "GITHUB_OUTPUT": str(outputs),
        "RUNNER_TEMP": str(tmp_path),
    }
    script = ROOT / "integrations/github-action/wait.sh"
    process = await asyncio.create_subprocess_exec("bash", str(script), env=environ)
    await finish(served, EventType.FAILED)
    assert await asyncio.wait_for(process.wait(), 60) == 1
    found = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
    assert {name: found[name] for name in ("status", "ended", "scenario-url")} == {
        "status": "failed",
        "ended": "true",
        "scenario-url": "",
    }
    assert json.loads(found["job"])["job_id"] == "j1"


def test_the_actions_outputs_are_the_scripts() -> None:
    """What action.yml declares is what wait.sh writes, and no input is a part of the script."""
    action = yaml.safe_load((ROOT / "integrations/github-action/action.yml").read_text())
    script = (ROOT / "integrations/github-action/wait.sh").read_text()
    assert all(f'"{name}":' in script for name in action["outputs"])
    [step] = action["runs"]["steps"]
    assert "${{" not in step["run"]
    assert set(step["env"].values()) == {f"${{{{ inputs.{name} }}}}" for name in action["inputs"]}

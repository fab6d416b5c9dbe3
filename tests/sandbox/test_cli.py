"""`relay sandbox` and `relay receive`, as processes and as commands with wrong usage."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from relay.cli import main
from relay.model import Secret
from relay.sandbox.fault_injection import NAMED
from relay.signing import standard_webhooks
from tests.forking import processes
from tests.loopback import http_client
from tests.sandbox import exec_page

SECRET = standard_webhooks.new_secret(bytes(32))
JOB = {**exec_page.COMPLETED, "scenario": {**exec_page.COMPLETED["scenario"], "name": "Café ‮\x1b[31m"}}
STANDARD = {"type": "job.completed", "timestamp": "2024-03-01T10:00:45Z", "data": {"job": JOB, "workspace": "default"}}
FLAT = {"event": "job.failed", "job_id": "abc", "scenario_name": None, "summary": "Scenario failed: out of ideas"}


@asynccontextmanager
async def relay(*arguments: str) -> AsyncIterator[Process]:
    """The command as a process; killed if the test did not end it."""
    process = await asyncio.create_subprocess_exec(
        *processes.command(), *arguments, stdout=PIPE, stderr=PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        async with asyncio.timeout(30):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(stream: asyncio.StreamReader | None, pattern: str) -> re.Match[str]:
    """The first line that contains `pattern`."""
    assert stream
    while read := (await stream.readline()).decode():
        if found := re.search(pattern, read):
            return found
    raise AssertionError(f"no line holds {pattern!r}")


def signed(body: dict[str, Any], secret: str = SECRET) -> dict[str, Any]:
    content = json.dumps(body).encode()
    headers = standard_webhooks.headers("evt_1", content, [Secret(secret)], time.time_ns() // 1_000_000)
    return {"content": content, "headers": headers}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_sandbox_prints_its_usage_and_stops_cleanly(number: signal.Signals) -> None:
    """The printed key and URL work; each request is printed; Ctrl-C and SIGTERM end it with 0 and no error output."""
    async with relay("sandbox", "--port", "0", "--median", "50ms", "--queued", "0", "--sigma", "0") as process:
        url = (await line(process.stdout, r"(http://\S+/rest/v1)"))[1]
        key = (await line(process.stdout, r"(exec_live_\w{40})"))[1]
        await line(process.stdout, r"curl -s http://\S+/scenario-studio/jobs")
        bearer = {"authorization": f"Bearer {key}"}
        async with http_client(base_url=url, headers=bearer, trust_env=False) as http:
            job_id = (await http.post("/scenario-studio/jobs", json=exec_page.CREATE)).json()["id"]
            while (await http.get(f"/scenario-studio/jobs/{job_id}")).json()["status"] != "completed":
                await asyncio.sleep(0.02)
        await line(process.stdout, rf"poll +{job_id} +200 +completed")
        process.send_signal(number)
        _, errors = await process.communicate()
        assert (process.returncode, errors) == (0, b"")


async def test_sandbox_accepts_faults_and_keys() -> None:
    """Faults apply, with the given wait; a closed connection prints no error."""
    key = "exec_live_" + "A1b2" * 10
    faults = ("--fault", "429:20s=1", "--no-limits", "--quiet")
    async with relay("sandbox", "--port", "0", "--key", key, *faults) as process:
        url = (await line(process.stdout, r"(http://\S+)/rest/v1"))[1]
        async with http_client(base_url=url, headers={"authorization": f"Bearer {key}"}) as http:
            limited = await http.get("/rest/v1/scenario-studio/jobs/abc")
            assert (limited.status_code, limited.headers["retry-after"]) == (429, "20")
            assert (await http.post("/sandbox/faults", json={"faults": [{"kind": "closed"}]})).status_code == 200
            with pytest.raises(httpx.RemoteProtocolError):
                await http.get("/rest/v1/scenario-studio/jobs/abc")
        process.terminate()
        _, errors = await process.communicate()
        assert (process.returncode, errors) == (0, b"")


async def test_receiver_prints_each_request(tmp_path: Path) -> None:
    """One line each: event, job, name, verification, and whether it is a repeat; control characters are escaped."""
    (tmp_path / "secrets").write_text(f"{standard_webhooks.new_secret(bytes(range(32)))}\n{SECRET}\n")
    async with relay("receive", "--port", "0", "--secret-file", str(tmp_path / "secrets")) as process:
        url = (await line(process.stderr, r"(http://\S+)"))[1]
        async with http_client(trust_env=False) as http:
            for request in (signed(STANDARD), signed(STANDARD), signed(FLAT), {"content": b"unsigned"}):
                assert (await http.post(url, **request)).status_code == 204
        process.terminate()
        output, _ = await process.communicate()
    first, second, third, fourth = output.decode().splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d  job\.completed  j1o2b3i4d5x6  Café ··\[31m  ✓ verified", first)
    assert second == first.replace(first[:8], second[:8]) + "  (again)"
    assert third[8:] == "  job.failed     abc           Scenario failed: out of ideas  ✓ verified  (again)"
    assert "✗ not signed" in fourth
    assert process.returncode == 0


async def test_receiver_prints_json_and_follows_its_statuses() -> None:
    """Without a secret it makes one; the statuses come in order, the last one forever; stdout is JSON only."""
    statuses = ("--status", "500", "--status", "503", "--status", "202")
    async with relay("receive", "--port", "0", "--json", *statuses) as process:
        url = (await line(process.stderr, r"(http://\S+)"))[1]
        secret = (await line(process.stderr, r"(whsec_\S+)"))[1]
        async with http_client(trust_env=False) as http:
            codes = [(await http.post(f"{url}/a", **signed(STANDARD, secret))).status_code for _ in range(4)]
            await http.post(url, **signed(STANDARD))
        process.send_signal(signal.SIGINT)
        output, _ = await process.communicate()
    assert codes == [500, 503, 202, 202]
    first, *_, last = [json.loads(one) for one in output.splitlines()]
    assert (first["event"], first["job_id"], first["verified"], first["again"]) == (
        "job.completed",
        "j1o2b3i4d5x6",
        True,
        False,
    )
    assert (first["path"], first["webhook_id"], first["body"]) == ("/a", "evt_1", STANDARD)
    assert (last["verified"], last["path"]) == (False, "/")
    assert "no signature matches" in last["why"]
    assert process.returncode == 0


@pytest.mark.parametrize("verb", ["sandbox", "receive"])
async def test_port_in_use_is_explained(verb: str) -> None:
    """Exit 1, with the port and the fix on stderr, without a traceback."""
    taken = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    async with taken, relay(verb, "--port", str(port)) as process:
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert f"127.0.0.1:{port}" in errors.decode()
    assert "choose another port" in errors.decode()
    assert "Traceback" not in errors.decode()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["sandbox", "--key", "sk_1"], "exec_live_"),
        (["sandbox", "--median", "40"], "unit"),
        (["sandbox", "--median", "0s"], "above 0"),
        (["sandbox", "--fail", "0.7", "--stuck", "0.7"], "together 1"),
        (["sandbox", "--fault", "500"], "KIND=SHARE"),
        (["sandbox", "--fault", "boom=0.1"], "not_json"),
        (["sandbox", "--fault", "500=2"], "share"),
        (["sandbox", "--fault", "500=much"], "share"),
        (["sandbox", "--fault", "slow:soon=0.1"], "duration"),
        (["sandbox", "--fault", "500=0.7", "--fault", "502=0.7"], "more than 1"),
        (["sandbox", "--port", "70000"], "65535"),
        (["receive", "--secret", "whsec_short"], "openssl rand"),
        (["receive", "--secret-file", "/nowhere"], "does not exist"),
        (["receive", "--status", "99"], "200"),
    ],
)
def test_wrong_usage_exits_2_with_the_fix(arguments: list[str], text: str) -> None:
    """The error says what to write instead."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert text in result.output


def test_secret_file_without_a_secret_is_refused(tmp_path: Path) -> None:
    """Empty or with other text: exit 2, and the text is not printed."""
    for content, text in (("\n", "holds no secret"), ("hunter2\n", "openssl rand")):
        (tmp_path / "secrets").write_text(content)
        result = CliRunner().invoke(main, ["receive", "--secret-file", str(tmp_path / "secrets")])
        assert (result.exit_code, text in result.output) == (2, True)
        assert "hunter2" not in result.output


@pytest.mark.parametrize("verb", ["sandbox", "receive"])
def test_help_has_examples(verb: str) -> None:
    """Examples come first; every fault is named."""
    shown = CliRunner().invoke(main, [verb, "--help"]).output
    assert shown.index("Examples:") < shown.index("Options:")
    if verb == "sandbox":
        assert all(name in shown for name in NAMED if name != "ok")


@pytest.mark.parametrize("module", ["relay.sandbox.receiver", "relay.sandbox.exec_server"])
def test_sandbox_loads_no_store(module: str) -> None:
    """So it starts at once."""
    code = f"import sys, {module}; print({{'sqlalchemy', 'apscheduler', 'aiohttp'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"

"""The JavaScript client, in node: against a real relay, and against servers that misbehave."""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from relay.client import local_token
from relay.model import EventType
from relay.model.feed_cursor import FeedCursor, FeedPosition
from relay.sandbox.exec_server import ExecSettings
from relay.security import LocalToken, hash_api_key
from relay.waiting.waiters import SWEEP_INTERVAL
from tests.flows.conftest import api_of, world_on
from tests.node import ROOT, needs
from tests.web.conftest import SECRET
from tests.web.waiting import KEY, OTHER_KEY, end, served_relay, started

CASES = ROOT / "tests/integrations/javascript_client.mjs"
NOBODY = "http://127.0.0.1:9"


async def run(case: str, url: str = NOBODY, key: str = KEY, *more: str) -> Any:
    """What one case printed last."""
    needs("node", "the JavaScript client")
    process = await asyncio.create_subprocess_exec(
        "node", str(CASES), case, url, key, *more, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    printed, errors = await asyncio.wait_for(process.communicate(), 100)
    assert process.returncode == 0, errors.decode()
    return json.loads(printed.decode().splitlines()[-1])


async def test_a_scenario_is_created_and_its_url_printed(sqlite_url: str) -> None:
    """The five lines of the README, against sandbox and relay."""
    async with world_on(sqlite_url, ExecSettings(seed=1)) as world, api_of(world) as http:
        running = asyncio.create_task(run("create", str(http.base_url)))
        async with asyncio.timeout(100):
            while not running.done():
                await world.advance(15_000)
                await asyncio.sleep(0.02)
        found = await running
        assert found["status"] == "completed"
        assert found["url"].startswith("https://")


async def test_it_waits_follows_and_verifies(sqlite_url: str) -> None:
    """A wait, the stream of one job until its end, and signed events."""
    async with served_relay(sqlite_url) as served:
        body = {"name": "ops", "url": "https://example.com/ops", "secret": SECRET}
        assert (await served.http.post("/v1/endpoints", json=body)).status_code == 201
        await served.register("j1")
        waiting = asyncio.create_task(run("wait", served.url))
        following = asyncio.create_task(run("follow", served.url))
        await served.waits_open(2)
        await started(served.relay, "j1")
        await end(served.relay, "j1", EventType.FAILED)
        assert await waiting == {"ended": True}
        assert await following == {"found": ["job.started", "job.failed"]}
        signed = await run("signed", served.url, KEY, SECRET)
        assert signed == {"type": "job.failed", "names": ["Unverified", "Unverified"]}


async def test_without_a_key_it_finds_the_token_of_this_machine(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the command line does; a relay that restarts in the middle of a wait has another one."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("RELAY_API_KEY", raising=False)
    async with served_relay(sqlite_url, api_keys=[]) as served:
        port = urlsplit(served.url).port
        assert port is not None

        def give_token(token: str) -> None:
            served.relay.local_token = LocalToken(hash_api_key(token))
            local_token.write(port, token)

        served.relay.waiters.sweep_interval = SWEEP_INTERVAL  # no wait is open for so long that its token is checked
        give_token(KEY)
        await served.register("j1")
        waiting = asyncio.create_task(run("wait", served.url, ""))
        await served.waits_open(1)
        give_token(OTHER_KEY)
        await served.waits_open(0)
        await served.waits_open(1)
        await end(served.relay)
        assert await waiting == {"ended": True}
        (tmp_path / "exec-relay").chmod(0o755)  # others can read it: it may be anybody's
        assert await run("status", served.url, "") == {"status": 401}


async def test_refusals_are_named_errors(sqlite_url: str) -> None:
    """None of them is asked again."""
    async with served_relay(sqlite_url) as served:
        wrong = FeedCursor("0" * 16, FeedPosition(1)).encode()
        assert await run("refused", served.url, KEY, wrong) == {
            "unknown": [True, 404, "job_not_found"],
            "wrong": 401,
            "gone": [True, "string"],
        }


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("troubles", {"ended": True, "asked": 7}),
        ("slices", {"asked": ["/v1/jobs/j1", "/v1/jobs/j1?wait=25", "/v1/jobs/j1?wait=25"]}),
        ("keys", {"id": "j1", "asked": 4, "keys": 1}),
        ("reconnects", {"found": ["e1", "e2", "e3"], "asked": ["0", "c2", "c2", "c2"], "sameHeaders": True}),
        ("stops", {"asked": 1}),
        ("closes", {"name": "Closed", "afterwards": True, "asked": 1}),
        ("times", {"late": True, "nobody": True, "bad": "Unverified"}),
        ("listeners", {"open": 0}),
    ],
)
async def test_it_survives_what_proxies_do(case: str, expected: Any) -> None:
    """Cut connections, error pages, lost answers and restarts; and it ends when it should."""
    assert await run(case) == expected

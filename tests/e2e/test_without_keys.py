"""A relay without API keys, as `relay serve` starts it: it needs the token that it prints."""

import asyncio
import os
import re

from tests.e2e.conftest import Stage
from tests.forking import processes
from tests.loopback import http_client


async def command(url: str, *words: str) -> tuple[int, str]:
    """Exit code and output of a command without a key."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
    process = await asyncio.create_subprocess_exec(
        *(*processes.command(), *words, "--server", url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environ,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, output.decode()


async def test_without_keys_every_request_needs_the_printed_token(stage: Stage) -> None:
    """Also a request that a forwarder sends as if from this machine; the commands find the token, and the link
    logs in."""
    relay = stage.serve(security={"api_keys": []})
    await relay.start(**{name: os.environ[name] for name in ("XDG_RUNTIME_DIR",) if name in os.environ})
    await relay.logs("Bearer TOKEN")
    printed = relay.log.read_text()
    [link] = re.findall(r"(http://\S+/login\?token=\S+)", printed)
    token = link.partition("=")[2]
    async with http_client(base_url=relay.url, trust_env=False) as http:
        for path in ("/v1/jobs", "/v1/workspaces/default/callback", "/metrics"):
            assert (await http.get(path)).status_code == 401
            assert (await http.get(path, headers={"authorization": "Bearer relay_wrong"})).status_code == 401
            assert (await http.get(path, headers={"authorization": f"Bearer {token}"})).status_code == 200
        added = {"name": "x", "url": "https://example.com/"}
        assert (await http.post("/v1/endpoints", json=added)).status_code == 401
        assert (await http.get("/healthz")).status_code == (await http.get("/readyz")).status_code == 200
        page = await http.get("/jobs", headers={"accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/login?next=/jobs")
        assert (await http.get("/login?token=relay_wrong")).status_code == 401
        assert (await http.get(link)).status_code == 303
        assert (await http.get("/jobs", headers={"accept": "text/html"})).status_code == 200
        forwarded = {"authorization": f"Bearer {token}", "x-forwarded-for": "203.0.113.7"}
        assert (await http.get("/v1/jobs", headers=forwarded)).status_code == 403
    assert (await command(relay.url, "jobs"))[0] == 0
    assert await relay.stop() == 0
    assert "no relay answers" in (await command(relay.url, "jobs"))[1]

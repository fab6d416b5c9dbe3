"""One relay of several, in its own process: registers jobs on command, then polls and delivers.

Exec is a function here that answers for each job that it has completed; everything else is a real relay. A line on
standard input is a command; the answer to each is a line with the CPU seconds used so far.
"""

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import httpx

from benchmarks.tick import streamed
from relay import config, registration
from relay.cli.serve import tune_gc
from relay.endpoints.spec import EndpointSpec
from relay.polling import exec_client
from relay.process import system_clock
from relay.registration import RegistrationSpec
from relay.service import Relay
from relay.times import MINUTE, to_rfc3339

HOSTS = 50
WORKSPACES = 20
KEY = "exec_live_" + "0" * 40
_AT_A_TIME = 32


def settings(store: str) -> dict[str, Any]:
    """The configuration of each relay: nothing that is due has to wait for a budget."""
    budget = {"per_minute": 100_000, "per_day": 10_000_000, "share": 1.0}
    return {
        "exec": {"budget": budget},
        "workspaces": [{"name": f"space{number}", "api_key": f"{KEY}{number}"} for number in range(WORKSPACES)],
        "polling": {"strategy": "interval", "tick": "50ms", "concurrency": 100},
        "storage": {"url": store},
        "security": {"secret_key": "k" * 43, "allow_http": True, "allow_networks": ["127.0.0.0/8"]},
    }


async def serve(asked: Mapping[str, Any]) -> None:
    """Executes the commands."""
    relay = await Relay.open(config.from_mapping(settings(asked["store"])))
    async with httpx.AsyncClient(transport=httpx.MockTransport(_completed)) as http:
        for name in relay.clients:
            relay.clients[name] = exec_client.ExecClient(
                name=name,
                api_key=KEY,
                base_url="http://exec.invalid",
                timeout=10_000,
                clock=relay.clock,
                http=http,
            )
        await _tell()
        await _register_all(relay, asked)
        await _tell()
        await relay.start()
        await _told()
        await relay.stop()
        await _tell(last=True)


async def _register_all(relay: Relay, asked: Mapping[str, Any]) -> None:
    left = iter(range(asked["number"]))

    async def work() -> None:
        for number in left:
            url = f"http://127.0.0.{1 + number % HOSTS}:{asked['port']}/{number % HOSTS}"
            name = f"space{number % WORKSPACES}"
            wanted = RegistrationSpec(job_id=f"r{asked['place']}-{number}", workspace=name, callback=EndpointSpec(url))
            checked = registration.validate(wanted, relay.rules, relay.clients)
            registration.raise_if_refused(
                await relay.store.write_together(registration.register_batch, (checked, relay.clock()))
            )

    await asyncio.gather(*(work() for _ in range(_AT_A_TIME)))


def _completed(request: httpx.Request) -> httpx.Response:
    now = to_rfc3339(system_clock())
    then = to_rfc3339(system_clock() - 5 * MINUTE)
    job = {"id": request.url.path.rpartition("/")[2], "status": "completed", "created_at": then, "started_at": then}
    job |= {"completed_at": now, "scenario": {"id": "s1", "name": "Discovery", "url": "https://app.exec.com/s1"}}  # type: ignore[dict-item]
    return httpx.Response(200, content=streamed(json.dumps(job)))


async def _told() -> None:
    """Returns when whoever measures says so."""
    await asyncio.to_thread(sys.stdin.readline)


async def _tell(last: bool = False) -> None:
    print(json.dumps({"cpu": time.process_time()}), flush=True)
    if not last:
        await _told()


if __name__ == "__main__":
    tune_gc()
    asyncio.run(serve(json.loads(sys.argv[1])))

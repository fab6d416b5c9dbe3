"""A relay on a socket, for requests that stay open: jobs that end when a test says so, and readers of streams."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx

from relay.model import EventType, ScenarioJob, WatchState
from relay.sandbox.local_server import serve
from relay.security.api_keys import hash_api_key
from relay.service import Relay
from relay.store.engine.database import Tx
from relay.store.tables import events, watches
from relay.web.app import create_app
from relay.web.schemas.requests import MAX_BATCH
from relay.web.server.http_protocol import ConnectionLimits
from relay.web.server.server import server_config
from tests.loopback import http_client
from tests.make import make_event
from tests.web.conftest import configured

KEY = "relay_key_0123456789abcdef"
OTHER_KEY = "relay_other_0123456789abcdef"
SWEEPS_FASTER = 10
"""How much oftener than in production deadlines and keys are checked, so that no test waits seconds for it."""
LIMITS = ConnectionLimits(connections=5_000, of_one_address=5_000)


class Served:
    """A relay that serves its API; it polls nobody."""

    def __init__(self, relay: Relay, url: str) -> None:
        self.relay, self.url = relay, url
        self.http = self.client()

    def client(self, key: str = KEY) -> httpx.AsyncClient:
        """A client with a key."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        headers = {"authorization": f"Bearer {key}"}
        return http_client(base_url=self.url, headers=headers, timeout=60, trust_env=False, limits=limits)

    async def register(self, *job_ids: str) -> None:
        """Registers jobs for nobody in particular."""
        for first in range(0, len(job_ids), MAX_BATCH):
            registrations = [{"job_id": job_id} for job_id in job_ids[first : first + MAX_BATCH]]
            answer = await self.http.post("/v1/registrations/batch", json={"registrations": registrations})
            assert {result["status"] for result in answer.json()["data"]} <= {200, 201}, answer.text

    def revoke_key(self) -> None:
        """Revokes KEY, and leaves OTHER_KEY."""
        config, keep = self.relay.config, hash_api_key(OTHER_KEY)
        keys = tuple(key for key in config.security.api_keys if key.hash == keep)
        security = config.security.model_copy(update={"api_keys": keys})
        self.relay.config = config.model_copy(update={"security": security})

    async def wait(self, job_id: str = "j1", wait: int = 60) -> httpx.Response:
        """One request that waits for a job, on a connection of its own: a pool of httpx asks each of its connections
        how it is for each request, which takes seconds for some hundreds."""
        parts = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            writer.write(wait_request(job_id, wait))
            status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines if line)
            body = await reader.readexactly(int(headers["content-length"]))
            return httpx.Response(int(status.split()[1]), headers=headers, content=body)
        finally:
            writer.close()

    async def pull(self, after: str, **params: Any) -> Any:
        """The answer to one pull."""
        answer = await self.http.get("/v1/events", params={"after": after, **params})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def waits_open(self, number: int) -> None:
        """Returns when so many requests wait."""
        async with asyncio.timeout(30):
            while sum(waiter.is_waiting for waiter in self.relay.waiters.all_waiters()) != number:
                await asyncio.sleep(0.002)


def wait_request(job_id: str, wait: int) -> bytes:
    """The bytes of a request that waits for a job."""
    return f"GET /v1/jobs/{job_id}?wait={wait} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\r\n".encode()


async def end(relay: Relay, job_id: str = "j1", type: EventType = EventType.COMPLETED) -> None:
    """What the poller does when a job ends: one transaction, then it wakes the waiters."""
    now = relay.clock()
    event = make_event(job_id, type, now)

    def record(tx: Tx) -> None:
        if (watch := watches.get_for_update(tx, "default", job_id)) is not None and type is not EventType.STARTED:
            job = ScenarioJob.model_validate(event.job)
            watches.save(tx, replace(watch, job=job, state=WatchState.SETTLED, next_poll_at=None, ended_at=now))
        events.add(tx, event)

    await relay.store.write(record)
    relay.waiters.wake(job_id)
    relay.feed.kick()
    relay.notifier.notify_others()


async def soonest(ask: Callable[[], Awaitable[float]], within: float, tries: int = 5) -> float:
    """The first of some answers' seconds that are within the limit, else the least: one alone says how busy the machine
    was."""
    seconds = [await ask()]
    while min(seconds) > within and len(seconds) < tries:
        seconds.append(await ask())
    return min(seconds)


async def started(relay: Relay, job_id: str = "j1") -> None:
    """A job begins at Exec."""
    await end(relay, job_id, EventType.STARTED)


@asynccontextmanager
async def serving(relay: Relay, limits: ConnectionLimits = LIMITS) -> AsyncIterator[Served]:
    """The relay's API on a socket."""
    app = create_app(relay, owns_relay=False)
    async with serve(app, configure=partial(server_config, limits=limits)) as url:
        served = Served(relay, url)
        relay.waiters.sweep_interval /= SWEEPS_FASTER
        try:
            yield served
        finally:
            relay.waiters.stop()
            await served.http.aclose()


@asynccontextmanager
async def open_relay(store_url: str, **security: Any) -> AsyncIterator[Relay]:
    """A relay with two keys on this store, not started."""
    keys = [{"name": "one", "key": KEY}, {"name": "two", "key": OTHER_KEY}]
    config = configured(store_url, security={"api_keys": keys, "requests_per_minute": None} | security)
    relay = await Relay.open(config, seed=1)
    try:
        yield relay
    finally:
        await relay.stop()


@asynccontextmanager
async def served_relay(store_url: str, **security: Any) -> AsyncIterator[Served]:
    """Both."""
    async with open_relay(store_url, **security) as relay, serving(relay) as served:
        yield served


class Message:
    """One message of a stream."""

    def __init__(self, block: str) -> None:
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        self.type, self.id = fields.get("event", ""), fields.get("id", "")
        self.data: Any = json.loads(fields["data"]) if "data" in fields else None
        self.is_comment = block.startswith(":")


async def messages(response: httpx.Response) -> AsyncIterator[Message]:
    """The messages of a stream, its comments too, until it ends."""
    rest = ""
    async for text in response.aiter_text():
        rest += text
        while "\n\n" in rest:
            block, _, rest = rest.partition("\n\n")
            yield Message(block)


@asynccontextmanager
async def streaming(http: httpx.AsyncClient, last_id: str = "", **params: Any) -> AsyncIterator[AsyncIterator[Message]]:
    """A stream that is open."""
    headers = {"last-event-id": last_id} if last_id else {}
    async with http.stream("GET", "/v1/events/stream", params=params, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        yield messages(response)


async def next_event(stream: AsyncIterator[Message]) -> Message:
    """The next message that is an event of a job, the end or an error."""
    async with asyncio.timeout(30):
        async for message in stream:
            if message.type not in ("", "hello"):
                return message
    raise AssertionError("the stream has ended")

"""Whoever is measured sending: so many POSTs as fast as it can, in a process of its own, on a core of its own.

The bare loops sign nothing, store nothing and remember nothing; the relay does all of its work. All send the same
body and the same headers to the same receiver.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
import httpx

BODY = json.dumps({"type": "job.completed", "data": "x" * 860}).encode()
HEADERS = {
    "content-type": "application/json",
    "user-agent": "bare/1.0",
    "webhook-id": "evt_" + "0" * 32,
    "webhook-timestamp": "1700000000",
    "webhook-signature": "v1," + "A" * 44,
}

Post = Callable[[str, bytes], Awaitable[None]]


def urls(port: int, hosts: int) -> list[str]:
    """One URL for each host: each is an address of this machine's own."""
    return [f"http://127.0.0.{1 + host}:{port}/deliver" for host in range(hosts)]


async def rush(post: Post, targets: Sequence[str], number: int, concurrency: int) -> None:
    """Posts `number` times by `concurrency` loops."""
    left = iter(range(number))

    async def work() -> None:
        for place in left:
            await post(targets[place % len(targets)], BODY)

    await asyncio.gather(*(work() for _ in range(concurrency)))


def on_aiohttp(concurrency: int) -> httpx.AsyncClient:
    """httpx's client over aiohttp's sockets."""
    from httpx_aiohttp import AiohttpTransport

    def session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency))

    return httpx.AsyncClient(transport=AiohttpTransport(client=session), trust_env=False)


def on_its_own(concurrency: int) -> httpx.AsyncClient:
    """httpx's client as it comes."""
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    return httpx.AsyncClient(limits=limits, trust_env=False)


def posting(client: httpx.AsyncClient) -> Post:
    """A POST through httpx."""

    async def post(url: str, body: bytes) -> None:
        answer = await client.post(url, headers=HEADERS, content=body)
        assert answer.status_code == 204

    return post


async def httpx_alone(targets: Sequence[str], number: int, concurrency: int) -> float:
    """Seconds that httpx on its own transport takes."""
    async with on_its_own(concurrency) as client:
        return await timed(rush(posting(client), targets, number, concurrency))


async def httpx_on_aiohttp(targets: Sequence[str], number: int, concurrency: int) -> float:
    """Seconds that httpx over aiohttp takes."""
    async with on_aiohttp(concurrency) as client:
        return await timed(rush(posting(client), targets, number, concurrency))


async def aiohttp_alone(targets: Sequence[str], number: int, concurrency: int) -> float:
    """Seconds that aiohttp takes."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:

        async def post(url: str, body: bytes) -> None:
            async with session.post(url, headers=HEADERS, data=body) as answer:
                await answer.read()
                assert answer.status == 204

        return await timed(rush(post, targets, number, concurrency))


async def timed(work: Awaitable[None]) -> float:
    """Seconds that `work` takes."""
    began = time.perf_counter()
    await work
    return time.perf_counter() - began

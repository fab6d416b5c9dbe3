"""Whoever is measured: each sends so many POSTs as fast as it can, in a process of its own on a core of its own.

`python -m benchmarks.speed.subjects NAME PORT DELIVERIES CONCURRENCY HOSTS [STORE]` prints what it took as JSON.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

BODY = json.dumps({"type": "job.completed", "data": "x" * 860}).encode()
HEADERS = {
    "content-type": "application/json",
    "user-agent": "bare/1.0",
    "webhook-id": "evt_" + "0" * 32,
    "webhook-timestamp": "1700000000",
    "webhook-signature": "v1," + "A" * 44,
}

Post = Callable[[str], Awaitable[None]]


def urls(port: int, hosts: int) -> list[str]:
    return [f"http://127.0.0.{1 + host}:{port}/deliver" for host in range(hosts)]


async def rush(post: Post, targets: list[str], number: int, concurrency: int) -> float:
    """Posts `number` times by `concurrency` loops. Returns seconds."""
    left = iter(range(number))

    async def work() -> None:
        for place in left:
            await post(targets[place % len(targets)])

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return time.perf_counter() - began


async def through_httpx(targets: list[str], number: int, concurrency: int) -> float:
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:
        return await _through(client, targets, number, concurrency)


async def through_httpx_on_aiohttp(targets: list[str], number: int, concurrency: int) -> float:
    transport = AiohttpTransport(
        client=lambda: aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency))
    )
    async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
        return await _through(client, targets, number, concurrency)


async def _through(client: httpx.AsyncClient, targets: list[str], number: int, concurrency: int) -> float:
    async def post(url: str) -> None:
        answer = await client.post(url, headers=HEADERS, content=BODY)
        assert answer.status_code == 204

    return await rush(post, targets, number, concurrency)


async def through_aiohttp(targets: list[str], number: int, concurrency: int) -> float:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:

        async def post(url: str) -> None:
            async with session.post(url, headers=HEADERS, data=BODY) as answer:
                await answer.read()
                assert answer.status == 204

        return await rush(post, targets, number, concurrency)

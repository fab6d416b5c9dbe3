"""A signal ends the relay in every phase, within ten seconds, and leaves nothing leased."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.e2e.conftest import API_KEY, Stage, free_port
from tests.loopback import Wire, http_client, serving
from tests.torture.postgresql import postgresql, url_at
from tests.torture.proxy import proxy

pytestmark = pytest.mark.timeout(400)

BEARER = {"authorization": f"Bearer {API_KEY}"}


async def register(url: str, jobs: list[str], callback: str) -> None:
    """Registers all jobs in one batch."""
    batch = {"registrations": [{"job_id": job, "callback_url": callback} for job in jobs]}
    async with http_client(base_url=url, headers=BEARER, trust_env=False) as http:
        (await http.post("/v1/registrations/batch", json=batch, timeout=20)).raise_for_status()


async def test_a_stop_releases_leased_polls(stage: Stage, folder: Path) -> None:
    """However busy the relay is, another relay makes them at once."""
    async with postgresql(folder) as server:
        relay = stage.serve(storage={"url": server.url}, polling={"interval": "100ms", "tick": "50ms"})
        await relay.start()
        await register(relay.url, [stage.exec.add(lasts=1_000).id for _ in range(200)], f"{stage.receiver_url}/x")
        for _ in range(5):
            await asyncio.sleep(0.3)
            assert await relay.stop() == 0
            with psycopg.connect(server.url) as connection:
                [left] = connection.execute("SELECT count(*) FROM watches WHERE leased").fetchall()
            assert left == (0,)
            await relay.start()
        assert await relay.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_ends_in_time_while_the_database_hangs(stage: Stage, folder: Path, number: int) -> None:
    """The relay exits after nine seconds, and says so; the leases expire."""
    async with postgresql(folder) as server, proxy(server.port) as between:
        relay = stage.serve(storage={"url": url_at(between.port)})
        await relay.start()
        await register(relay.url, [stage.exec.add(lasts=1_000).id for _ in range(20)], f"{stage.receiver_url}/x")
        between.hold_up()
        await asyncio.wait_for(between.held.wait(), 60)
        assert await relay.stop(number) == 1
        await relay.logs("could not stop within 9 s")


async def test_a_stop_ends_in_time_while_the_database_hangs_at_start(stage: Stage, folder: Path) -> None:
    """While the store opens, the relay exits at once; later, within nine seconds. The database hangs after ever more
    answers: at the first connection, in the migrations, while the relay recovers leases."""
    codes: set[int] = set()

    async def stop_while_it_hangs(after: int, hangs: asyncio.Event) -> None:
        async with proxy(server.port) as between:
            relay = stage.serve(storage={"url": url_at(between.port)})
            between.hold_up(after=after)
            start = asyncio.create_task(relay.start())
            await asyncio.wait_for(between.held.wait(), 60)
            hangs.set()
            codes.add(await relay.stop())
            with suppress(AssertionError):  # it did not become ready
                await start
            await between.break_off()

    async with postgresql(folder) as server, asyncio.TaskGroup() as stops:
        for reads in (0, 20, *range(100, 1_000, 150)):
            stops.create_task(stop_while_it_hangs(reads, hangs := asyncio.Event()))
            await asyncio.wait_for(hangs.wait(), 60)  # one starts while others wait for their nine seconds
    assert codes == {128 + signal.SIGTERM, 1}


async def test_a_stop_ends_in_time_while_attempts_and_requests_hang(stage: Stage) -> None:
    """Both are cancelled in time for a clean end: the delivery is due again at once, for another relay: the one that
    stops sends no second request."""

    async def hangs(wire: Wire) -> None:
        await wire.read()
        came.set()
        await wire.hang()

    came = asyncio.Event()
    relay = stage.serve(delivery={"timeout": "30s"})
    await relay.start()
    async with serving(hangs) as served:
        await register(relay.url, [stage.exec.add(lasts=0).id], served.url("/x"))
        await asyncio.wait_for(came.wait(), 60)
        _, writer = await asyncio.open_connection("127.0.0.1", int(relay.url.rpartition(":")[2]))
        head = f"POST /v1/registrations HTTP/1.1\r\nhost: x\r\nauthorization: {BEARER['authorization']}\r\n"
        writer.write(f"{head}content-type: application/json\r\ncontent-length: 100\r\n\r\n{{".encode())
        await writer.drain()
        await relay.ask("GET", "/healthz")
        began = time.monotonic()
        assert await relay.stop() == 0, "it exits with 1 after nine seconds"
        assert time.monotonic() - began > 7, "both were given time"
        assert (len(served.requests), served.connections) == (1, 1), "the slow receiver is asked once"
        writer.close()
    with closing(sqlite3.connect(stage.folder / "relay.db")) as connection:
        [left] = connection.execute("SELECT status, leased_by, attempts FROM deliveries").fetchall()
    assert left == ("pending", None, 0)


async def test_a_stop_ends_in_time_while_the_log_is_not_read(stage: Stage) -> None:
    """The relay works and stops although nobody reads its standard error."""
    port = free_port()
    config = stage.write_config(server={"port": port})
    read, write = os.pipe()
    while True:  # the pipe is full before the first line
        os.set_blocking(write, False)
        try:
            os.write(write, b"x" * 4_096)
        except BlockingIOError:
            break
    os.set_blocking(write, True)
    words = [sys.executable, "-m", "relay", "serve", "--config", str(config)]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(words, stderr=write, stdout=write, env=environ, cwd=stage.folder)
    try:
        url = f"http://127.0.0.1:{port}"
        async with http_client(base_url=url, trust_env=False) as http, asyncio.timeout(60):
            while True:
                try:
                    if (await http.get("/readyz")).status_code == 200:
                        break
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
        await register(url, [stage.exec.add(lasts=0).id for _ in range(20)], f"{stage.receiver_url}/x")
        await stage.receiver.wait_for(20)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 30) == 0
    finally:
        process.kill()
        os.close(read)
        os.close(write)

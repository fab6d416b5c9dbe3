"""A relay listens first: it is alive while it waits for its database, and serves on for a while after SIGTERM."""

import asyncio
import signal
from contextlib import suppress
from pathlib import Path

import httpx
import psycopg

from relay.store.engine import migrate
from tests.e2e.conftest import API_KEY, Stage, free_port
from tests.loopback import http_client
from tests.torture.postgresql import postgresql, url_at
from tests.torture.proxy import proxy

BEARER = {"authorization": f"Bearer {API_KEY}"}


async def test_a_relay_waits_for_its_database_and_for_another_upgrade(stage: Stage, folder: Path) -> None:
    """Without exiting: it is alive, at any Host, and says what it waits for; then it gets ready by itself."""
    async with postgresql(folder) as server, proxy(server.port) as between:
        await between.break_off()
        relay = stage.serve(storage={"url": url_at(between.port)})
        starting = asyncio.create_task(relay.start())
        async with http_client(base_url=relay.url, trust_env=False) as http:

            async def says(words: str) -> None:
                async with asyncio.timeout(60):
                    while True:
                        with suppress(httpx.HTTPError):
                            alive = await http.get("/healthz", headers={"host": "10.244.0.5:8000"})
                            ready = await http.get("/readyz")
                            if ready.status_code == 503 and words in ready.text:
                                assert alive.status_code == 200
                                return
                        await asyncio.sleep(0.05)

            await says("the database can't be reached")
            with psycopg.connect(server.url) as other:
                other.execute(f"SELECT pg_advisory_xact_lock({migrate._LOCK})")
                await between.mend()
                await says(f"the lock of migrations, which process {other.info.backend_pid} of PostgreSQL")
                assert not starting.done()
            await starting
        assert await relay.stop() == 0
        assert relay.log.read_text().count("the database can't be reached") == 1


async def drains(http: httpx.AsyncClient) -> None:
    """Returns when the relay says that it stops."""
    async with asyncio.timeout(30):
        while (await http.get("/readyz?exclude=exec")).status_code != 503:
            pass


async def test_no_request_fails_while_load_balancers_learn_of_a_stop(stage: Stage) -> None:
    """After SIGTERM readiness is 503 at once, and requests are served for the drain; a second signal ends it. Metrics
    have a port of their own, which needs no key and serves nothing else."""
    metrics_port = free_port()
    relay = stage.serve(server={"drain": "5m"}, metrics={"port": metrics_port})
    await relay.start()
    async with http_client(base_url=f"http://127.0.0.1:{metrics_port}", trust_env=False) as http:
        assert 'relay_ready{check="store"} 1.0' in (await http.get("/metrics")).text
        assert (await http.get("/v1/jobs")).status_code == 404
    relay.send_signal(signal.SIGTERM)
    async with http_client(base_url=relay.url, headers=BEARER, trust_env=False) as http:
        await drains(http)
        for _ in range(50):  # a deregistration that lags
            async with http_client(base_url=relay.url, headers=BEARER, trust_env=False) as newcomer:
                assert (await newcomer.get("/v1/jobs")).status_code == 200
    assert await relay.stop() == 0, "the second signal"


async def test_a_relay_stops_by_itself_after_its_drain(stage: Stage) -> None:
    """The first signal is enough."""
    relay = stage.serve(server={"drain": "1s"})
    await relay.start()
    assert await relay.stop() == 0

"""What several relays on one PostgreSQL share: every relay gives the same answer, and nothing is created twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import psycopg

from relay.model import SECOND
from relay.registration import exec_callback_tokens
from relay.service import Relay
from relay.store.tables import callback_tokens as stored_tokens
from relay.store.tables import endpoints
from relay.web.app import create_app
from tests.flows.replicas import Replicas, replicas
from tests.make import SECRET

KEY = "relay_shared_0123456789abcdef"
BEARER = {"Authorization": f"Bearer {KEY}"}
KEYED: dict[str, Any] = {"security": {"api_keys": [KEY]}}


@asynccontextmanager
async def apis(world: Replicas) -> AsyncIterator[list[httpx.AsyncClient]]:
    """A client of each relay's API."""
    async with AsyncExitStack() as stack:
        found = []
        for relay in world.relays:
            transport = httpx.ASGITransport(create_app(relay, owns_relay=False))
            made = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080", headers=BEARER)
            found.append(await stack.enter_async_context(made))
        yield found


async def test_relays_that_start_together_sync_the_configuration_once(postgres_url: str) -> None:
    """There is one endpoint with one secret, and one token for Exec's callbacks, however many relays start at once."""
    configured = [{"name": f"team{number}", "url": f"https://example.com/{number}"} for number in range(5)]
    async with replicas(postgres_url, 4, endpoints=configured) as world:
        await world.each(Relay.start)
        standing = await world.relay.store.read(endpoints.all_standing)
        tokens = await world.relay.store.read(stored_tokens.all)
    assert sorted(one.name or "" for one in standing) == [f"team{number}" for number in range(5)]
    assert (len({one.secrets for one in standing}), len(tokens)) == (5, 1)


async def test_one_idempotency_key_works_across_relays(postgres_url: str) -> None:
    """Repeats at any relay, concurrent or later, have one registration and one answer."""
    async with replicas(postgres_url, 3, **KEYED) as world, apis(world) as all_of_them:
        asked = {"job_id": "j1", "callback_url": f"{world.receiver_url}/x"}
        key = {"Idempotency-Key": "order-17"}
        wishes = [http.post("/v1/registrations", json=asked, headers=key) for http in all_of_them * 10]
        answers = await asyncio.gather(*wishes)
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.text for answer in answers}) == 1
        assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1


async def test_concurrent_identical_registrations_create_one(postgres_url: str) -> None:
    """One gets 201, the others 200 and the same id; one endpoint is created for the URL."""
    async with replicas(postgres_url, 3, **KEYED) as world, apis(world) as all_of_them:
        asked = {"job_id": "j1", "callback_url": f"{world.receiver_url}/x"}
        answers = await asyncio.gather(*(http.post("/v1/registrations", json=asked) for http in all_of_them * 5))
        assert sorted(answer.status_code for answer in answers) == [200] * 14 + [201]
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert len({answer.json()["endpoint"]["id"] for answer in answers}) == 1


async def test_one_request_id_creates_one_job_across_relays(postgres_url: str) -> None:
    """Three relays get the same request_id at once: Exec has one job, registered once."""
    async with replicas(postgres_url, 3, **KEYED) as world, apis(world) as all_of_them:
        asked = {"user_email": "jane@acme.com", "prompt": "A call", "request_id": "order-17"}
        asked |= {"callback_url": f"{world.receiver_url}/x", "secret": SECRET}
        answers = await asyncio.gather(*(http.post("/v1/jobs", json=asked) for http in all_of_them))
        assert {answer.status_code for answer in answers} <= {200, 201}
        assert {answer.json()["job"]["id"] for answer in answers} == set(world.exec.jobs)
        assert len({answer.json()["registration"]["id"] for answer in answers}) == len(world.exec.jobs) == 1


async def test_a_dashboard_session_is_valid_in_every_relay(postgres_url: str) -> None:
    """A session begins at one relay, continues at another and ends at a third: it is over at all of them."""
    async with replicas(postgres_url, 3, **KEYED) as world, apis(world) as (first, second, third):
        for http in (first, second, third):
            del http.headers["Authorization"]
        began = await first.post("/login", data={"api_key": KEY})
        for http in (second, third):
            http.cookies = first.cookies
            page = await http.get("/", headers={"accept": "text/html"})
            assert page.status_code == 200, page.text
        assert began.status_code == 303
        csrf = page.text.split('name="csrf" value="')[1].split('"')[0]
        assert (await third.post("/logout", data={"csrf": csrf})).status_code == 303
        assert (await second.get("/", headers={"accept": "text/html"})).status_code == 303


async def test_execs_callback_works_at_every_relay(postgres_url: str) -> None:
    """All relays share the token and its rotation; whichever relay is first makes the poll."""
    async with replicas(postgres_url, 2, **KEYED) as world, apis(world) as (first, second):
        for relay in world.relays:
            await relay.store.write(lambda tx: exec_callback_tokens.get_or_create_token(tx, "default"))
        job = world.exec.add(lasts=SECOND)
        await world.register(job.id, exec_callback=True)
        before = (await first.get("/v1/workspaces/default/callback")).json()["path"]
        assert (await second.get("/v1/workspaces/default/callback")).json()["path"] == before
        await world.relay.store.write(lambda tx: exec_callback_tokens.rotate_token(tx, "default", world.clock()))
        world.clock.advance(SECOND)
        assert (await second.post(before, json={"id": job.id})).json()["poll_scheduled"] is True
        await world.settle()
        assert [one.path for one in world.received()] == ["/callback"]


async def test_readiness_is_reported_per_relay(postgres: str, postgres_url: str) -> None:
    """A dead relay does not affect the others. Without the database none is ready; with it each becomes ready by
    itself."""
    async with replicas(postgres_url, 3, **KEYED) as world, apis(world) as (first, second, _):
        await world.kill(world.relays[2])

        async def ready() -> list[tuple[int, str]]:
            answers = [await http.get("/readyz") for http in (first, second)]
            return [(answer.status_code, str(answer.json())) for answer in answers]

        assert [status for status, _ in await ready()] == [200, 200]
        with psycopg.connect(postgres, autocommit=True) as server, psycopg.connect(postgres_url) as own:
            name = own.info.dbname
            server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            for status, text in await ready():
                assert status == 503
                assert "the database can't be reached" in text
            server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert [status for status, _ in await ready()] == [200, 200]
        job = world.exec.add(lasts=1)
        world.clock.advance(SECOND)
        await world.register(job.id)
        assert [one.path for one in world.received()] == ["/callback"]

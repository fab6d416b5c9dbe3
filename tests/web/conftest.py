"""The API over ASGI, on a real store, with a relay that is not started: what it is woken for is only counted."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import func, select
from starlette.applications import Starlette

from relay import config as configuration
from relay.config import Config
from relay.delivery.enqueue import enqueue
from relay.model import EventType, ScenarioJob, Secret, event_id
from relay.service import Relay
from relay.signing import standard_webhooks
from relay.store.engine.database import Tx
from relay.store.engine.schema import metadata
from relay.store.maintenance.reencrypt import open_store
from relay.store.tables import endpoints, events, registrations, watches
from relay.web.app import create_app
from tests.conftest import Clock
from tests.make import make_event

EXEC_KEY = "exec_live_" + "a1" * 20
SELF = "http://127.0.0.1:8080"
SECRET = standard_webhooks.new_secret(b"0123456789abcdef0123456789abcdef")
OTHER_SECRET = standard_webhooks.new_secret(b"fedcba9876543210fedcba9876543210")


class QuietRelay(Relay):
    """A relay that only counts how often it was woken."""

    woken = 0

    def wake(self) -> None:
        self.woken += 1


@dataclass
class Api:
    """The API, and the relay behind it."""

    http: httpx.AsyncClient
    relay: QuietRelay
    clock: Clock
    app: Starlette

    async def get(self, path: str, **request: Any) -> Any:
        """The answer's JSON to a GET that is granted."""
        answer = await self.http.get(path, **request)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: Any = None, status: int = 200, **request: Any) -> Any:
        """The answer's JSON to a POST that ends with `status`."""
        answer = await self.http.post(path, **({} if body is None else {"json": body}), **request)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def register(self, job_id: str = "j1", status: int = 201, **fields: Any) -> Any:
        """A registration with a callback URL, as the API shows it."""
        body = {"job_id": job_id, "callback_url": "https://example.com/callback", **fields}
        return await self.post("/v1/registrations", body, status)

    async def make_endpoint(self, status: int = 201, **fields: Any) -> Any:
        """A standing endpoint named `ops`, as the API shows it."""
        return await self.post("/v1/endpoints", {"name": "ops", "url": "https://example.com/ops"} | fields, status)

    async def secrets_of(self, id: str) -> tuple[Secret, ...]:
        """The secrets of an endpoint, which the API does not show."""
        found = await self.relay.store.read(lambda tx: endpoints.get(tx, id))
        assert found is not None
        return found.secrets

    async def stored(self) -> dict[str, int]:
        """How many rows there are, by table; none that is empty."""

        def count(tx: Tx) -> dict[str, int]:
            tables = metadata.sorted_tables
            found = {table.name: tx.execute(select(func.count()).select_from(table)).scalar_one() for table in tables}
            return {
                name: rows
                for name, rows in found.items()
                if rows and name not in ("audit", "sending", "store_compatibility", "workspaces")
            }

        return await self.relay.store.read(count)

    async def deliver(self, job_id: str = "j1", type: EventType = EventType.COMPLETED) -> list[str]:
        """What the watcher does when a job ends: the event and its deliveries. Returns the deliveries' ids."""
        event = make_event(job_id, type, self.clock())

        def settle(tx: Tx) -> None:
            watch = watches.get_for_update(tx, "default", job_id)
            if watch is not None and watch.job is None:
                watches.save(tx, replace(watch, job=ScenarioJob.model_validate(event.job)))
            subscribers = registrations.lock_subscribers(tx, "default", job_id, type)
            enqueue(tx, events.add(tx, event), subscribers, self.clock(), first_delay=0)

        await self.relay.store.write(settle)
        found = await self.get("/v1/deliveries", params={"job_id": job_id, "limit": 200})
        return [row["id"] for row in found["data"] if row["event_id"] == event_id("default", job_id, type)]


def configured(url: str, **sections: Any) -> Config:
    """A configuration for tests, on the store at `url`."""
    base: dict[str, Any] = {
        "exec": {"base_url": "http://127.0.0.1:9/rest/v1", "api_key": EXEC_KEY},
        "storage": {"url": url},
    }
    return configuration.from_mapping(base | sections)


@asynccontextmanager
async def open_api(url: str, clock: Clock, **sections: Any) -> AsyncIterator[Api]:
    """The API of a relay with these sections of configuration."""
    config = configured(url, **sections)
    relay = QuietRelay(config, await open_store(config.storage.url, config.security.cipher(), clock=clock), seed=1)
    relay.waiters.stop()  # in memory an answer comes only when it is whole: waits and streams end at once
    try:
        app = create_app(relay)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=SELF) as http:
            yield Api(http, relay, clock, app)
    finally:
        await relay.stop()


@pytest.fixture
async def api(sqlite_url: str, clock: Clock) -> AsyncIterator[Api]:
    """The API of an open relay on SQLite."""
    async with open_api(sqlite_url, clock) as opened:
        yield opened


@pytest.fixture
async def any_api(store_url: str, clock: Clock) -> AsyncIterator[Api]:
    """The same, on each database."""
    async with open_api(store_url, clock) as opened:
        yield opened


shared = pytest.mark.asyncio(loop_scope="module")
"""For tests that ask for `shared_api`."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """One for all tests of a file that leave nothing behind: they are marked `shared`."""
    async with open_api(f"sqlite:///{tmp_path_factory.mktemp('shared')}/relay.db", Clock()) as opened:
        yield opened


def assert_refused(answer: httpx.Response, status: int, code: str, field: str | None = None) -> str:
    """The answer is Exec's envelope with this code and field, and nothing else. Returns its message."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error"}
    error = body["error"]
    assert error["code"] == code, error
    assert error.get("field") == field, error
    assert set(error) == {"type", "code", "message"} | ({"field"} if field else set())
    message: str = error["message"]
    return message

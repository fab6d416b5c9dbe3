"""The filters of lists on the command line, against a relay with deliveries: the same as those of the API."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import update

from relay.cli import main
from relay.delivery.enqueue import enqueue
from relay.model import EventType
from relay.store.engine.database import Tx
from relay.store.engine.schema import deliveries
from relay.store.tables import endpoints, events
from tests.make import make_endpoint, make_event
from tests.web.waiting import KEY, Served, served_relay

FILTERS = {
    ("--event", "job.failed"): {"j2"},
    ("--http-status", "5xx"): {"j2"},
    ("--http-status", "200"): {"j1"},
    ("--metadata", "customer=acme"): {"j1"},
    ("--workspace", "default"): {"j1", "j2"},
    ("--endpoint", "crm"): {"j1", "j2"},
    ("--since", "2000-01-01T00:00:00Z", "--event", "job.completed"): {"j1"},
    ("--until", "2000-01-01T00:00:00Z"): set[str](),
}


@pytest.fixture
async def served(sqlite_url: str) -> AsyncIterator[Served]:
    """Two jobs, one delivered and one that failed, to one endpoint."""
    async with served_relay(sqlite_url) as served:
        for job_id, customer in (("j1", "Acme"), ("j2", "Globex")):
            registration = {"job_id": job_id, "metadata": {"customer": customer}}
            (await served.http.post("/v1/registrations", json=registration)).raise_for_status()
        await served.relay.store.write(lambda tx: _deliver(tx, served.relay.clock()))
        yield served


def _deliver(tx: Tx, now: int) -> None:
    crm = make_endpoint(name="crm", url="https://crm.example/hook")
    endpoints.add(tx, crm)
    for job_id, type, status, code in (
        ("j1", EventType.COMPLETED, "delivered", 200),
        ("j2", EventType.FAILED, "failed", 503),
    ):
        enqueue(tx, events.add(tx, make_event(job_id, type, now)), [(crm, None)], now, 0)
        values = {"status": status, "status_code": code, "attempts": 1, "ended_at": now, "next_attempt_at": None}
        tx.execute(update(deliveries).where(deliveries.c.job_id == job_id).values(**values))


async def run(served: Served, *words: str) -> Result:
    environ = {"RELAY_URL": served.url, "RELAY_API_KEY": KEY}
    result = await asyncio.to_thread(CliRunner(env=environ).invoke, main, words)
    assert result.exit_code == 0, result.output
    return result


async def test_lists_are_filtered(served: Served) -> None:
    """Jobs and deliveries by the same options; a resend counts what they select."""
    for options, jobs in FILTERS.items():
        for verb in ("jobs", "deliveries"):
            rows = json.loads((await run(served, verb, "--json", *options)).stdout)["data"]
            assert {row["job_id"] for row in rows} == jobs, (verb, options)
        said = (await run(served, "resend", "--failed", "--dry-run", *options)).stdout
        assert said == f"{int('j2' in jobs)} failed deliveries would be sent again\n"


async def test_a_replay_is_counted_started_and_stopped(served: Served) -> None:
    """Nothing is sent before somebody confirms; a second one is refused in words."""
    since = ("--since", "2000-01-01T00:00:00Z")
    assert (
        "1 deliveries would be sent again"
        in (await run(served, "endpoints", "replay", "crm", *since, "--dry-run")).stdout
    )
    environ = {"RELAY_URL": served.url, "RELAY_API_KEY": KEY}
    words = ["endpoints", "replay", "crm", *since]
    unsure = await asyncio.to_thread(CliRunner(env=environ).invoke, main, words, input="n\n")
    assert (unsure.exit_code, "Send 1 deliveries to crm again?" in unsure.stderr) == (1, True)
    started = (await run(served, *words, "--yes")).stdout
    assert started.startswith("✓ 1 deliveries are being sent to crm again; `relay endpoints replay crm --stop`")
    again = await asyncio.to_thread(CliRunner(env=environ).invoke, main, [*words, "--yes"])
    assert (again.exit_code, "goes on" in again.stderr) == (1, True)
    assert (await run(served, "endpoints", "replay", "crm", "--stop")).stdout == "✓ crm gets no replay\n"
    none = await asyncio.to_thread(CliRunner(env=environ).invoke, main, ["endpoints", "replay", "crm"])
    assert (none.exit_code, "give --since" in none.stderr) == (2, True)

"""How long the dashboard's pages take, and how large they are: a part of `python -m benchmarks.speed`.

Two stores, one with 100 jobs and 1,000 deliveries, one with 10,000 and 100,000, behind the same pages, asked in turns
in one process. What counts is the ratio: pages must cost what they show, not what is stored.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import insert

from benchmarks.tables import Check, Report, Table
from relay import config
from relay.model import (
    DAY,
    ID_BYTES,
    MINUTE,
    SECOND,
    Endpoint,
    EndpointKind,
    EventType,
    Instant,
    Secret,
    event_id,
    new_id,
)
from relay.process import system_clock
from relay.service import Relay
from relay.store.engine.database import Tx
from relay.store.engine.schema import attempts, deliveries, events, polls, watches
from relay.store.tables import endpoints as subscribers
from relay.web.app import create_app

FEW, MANY = 100, 10_000
EACH = 10
"""Deliveries of one job, each with two attempts; five polls a job."""
ROUNDS = 15
INSTANT, LARGE = 100, 100
"""Milliseconds within which people take an answer for instant (Nielsen, Usability Engineering, 1993); kB of a page."""
SECRET = "whsec_" + "c2VjcmV0" * 5 + "c2Vj"

Found = list[tuple[str, float, float, int]]
"""(page, milliseconds with few jobs, with many, bytes with many)."""


def fill(tx: Tx, jobs: int, now: Instant) -> dict[str, str]:
    """The jobs of a month, a thirtieth of them of the last day. Returns the addresses of pages."""
    owners = [subscriber(tx, place, now) for place in range(EACH)]
    rows: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("watches", "events", "deliveries", "attempts", "polls")
    }
    for number in range(jobs):
        for name, some in job_rows(number, now - number * 30 * DAY // jobs, owners).items():
            rows[name] += some
    for table in (watches, events, deliveries, attempts, polls):
        tx.execute(insert(table), rows[table.name])
    places = {name: f"/{name}" for name in ("jobs", "deliveries", "endpoints")}
    return places | {
        "overview": "/",
        "ended jobs": "/jobs?state=settled",
        "failed deliveries": "/deliveries?status=failed",
        "one job": "/jobs/default/job0000003",
        "one delivery": f"/deliveries/{rows['deliveries'][3]['id']}",
        "one endpoint": f"/endpoints/{owners[3]}",
        "search for an id": "/search?q=job000000",
        "search for a name": "/search?q=scenario%203",
    }


def subscriber(tx: Tx, place: int, now: Instant) -> str:
    """A standing endpoint. Returns its id."""
    made = Endpoint(
        id=new_id("ep", now + place, os.urandom(ID_BYTES)),
        kind=EndpointKind.STANDING,
        name=f"receiver{place}",
        url=f"https://example.com/{place}",
        host="example.com:443",
        format="standard",
        events=(EventType.COMPLETED,),
        secrets=(Secret(SECRET),),
        headers={},
        created_at=now,
    )
    subscribers.add(tx, made)
    return made.id


def job_rows(number: int, at: Instant, owners: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The rows of one job that ended at `at`."""
    key = {"workspace": "default", "job_id": f"job{number:07d}"}
    job = json.dumps({"id": key["job_id"], "status": "completed", "scenario": {"name": f"Scenario {number}"}})
    fact = event_id("default", key["job_id"], EventType.COMPLETED)
    rows: dict[str, list[dict[str, Any]]] = {"deliveries": [], "attempts": []}
    ended = {"state": "settled", "created_at": at - 5 * MINUTE, "ended_at": at, "leased": False}
    rows["watches"] = [key | ended | {"job": job, "polls": 5, "last_poll_at": at, "next_poll_reason": ""}]
    common = {"type": "job.completed", "occurred_at": at - SECOND, "created_at": at}
    rows["events"] = [key | common | {"id": fact, "job": job}]
    poll = {"duration_ms": 80, "outcome": "seen", "detail": "processing"}
    rows["polls"] = [key | poll | {"at": at - n * MINUTE} for n in range(5)]
    for place, owner in enumerate(owners):
        id, status = new_id("dlv", at, os.urandom(ID_BYTES)), "failed" if place == EACH - 1 else "delivered"
        sent = {"event_id": fact, "event_type": "job.completed", "host": "example.com:443", "body": b"{}" * 200}
        done = {"attempts": 2, "attempts_in_run": 2, "trigger": "schedule", "created_at": at, "ended_at": at + SECOND}
        rows["deliveries"].append(key | sent | done | {"id": id, "endpoint_id": owner, "status": status})
        tried = {"delivery_id": id, "trigger": "schedule", "started_at": at, "duration_ms": 90, "response": "ok"}
        rows["attempts"] += [
            tried | {"id": new_id("att", at, os.urandom(ID_BYTES)), "number": n, "status_code": 200, "outcome": status}
            for n in (1, 2)
        ]
    return rows


@asynccontextmanager
async def site(folder: Path, jobs: int) -> AsyncIterator[tuple[httpx.AsyncClient, dict[str, str]]]:
    """A relay that does nothing but show its pages."""
    settings = {"exec": {"api_key": "exec_live_" + "0" * 40}, "storage": {"url": f"sqlite:///{folder}/{jobs}.db"}}
    relay = await Relay.open(config.from_mapping(settings))
    pages = await relay.store.write(lambda tx: fill(tx, jobs, system_clock()))
    asked = {"accept": "text/html"}
    transport = httpx.ASGITransport(create_app(relay, owns_relay=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=asked) as http:
        yield http, pages
    await relay.stop()


async def measure(rounds: int = ROUNDS, many: int = MANY) -> Found:
    """Medians of `rounds`."""
    taken: dict[str, tuple[list[float], list[float]]] = {}
    size: dict[str, int] = {}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sites = [await stack.enter_async_context(site(folder, jobs)) for jobs in (FEW, many)]
        for _ in range(rounds):
            for place, (http, pages) in enumerate(sites):
                for name, path in pages.items():
                    began = time.perf_counter()
                    answer = await http.get(path)
                    taken.setdefault(name, ([], []))[place].append(1_000 * (time.perf_counter() - began))
                    assert answer.status_code == 200, (path, answer.status_code)
                    size[name] = len(answer.content)
    return [(name, statistics.median(few), statistics.median(lots), size[name]) for name, (few, lots) in taken.items()]


def report(found: Found, jobs: int = MANY) -> Report:
    """How long each page takes and how large it is, and whether a person takes that for instant."""
    rows = [
        [name, f"{few:.1f} ms", f"{lots:.1f} ms", f"{lots / few:.1f}×", f"{size / 1_000:.1f} kB"]
        for name, few, lots, size in found
    ]
    head = ("page", f"{FEW:,} jobs", f"{jobs:,} jobs, {jobs * EACH:,} deliveries", "grown", "size")
    slowest, largest = max(lots for _, _, lots, _ in found), max(size for *_, size in found) / 1_000
    checks = [
        Check("the slowest page", f"<= {INSTANT} ms", f"{slowest:.0f} ms", slowest <= INSTANT),
        Check("the largest page", f"<= {LARGE} kB", f"{largest:.0f} kB", largest <= LARGE),
    ]
    return Report([Table("The dashboard's pages, SQLite", head, rows)], checks, bound="held to")

"""How long the dashboard's pages take, and how large they are: a part of `python -m benchmarks.speed`.

Two stores, filled as those of `benchmarks.growth`, behind the same pages, asked in turns in one process. What counts is
the ratio: pages must cost what they show, not what is stored.
"""

import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx

from benchmarks.growth.filling import EACH, filled
from benchmarks.tables import Check, Report, Table
from relay import config
from relay.process import system_clock
from relay.service import Relay
from relay.web.app import create_app

FEW, MANY = 100, 10_000
ROUNDS = 15
INSTANT, LARGE = 100, 100
"""Milliseconds within which people take an answer for instant (Nielsen, Usability Engineering, 1993); kB of a page."""
PAGES = {
    "jobs": "/jobs",
    "deliveries": "/deliveries",
    "endpoints": "/endpoints",
    "overview": "/",
    "ended jobs": "/jobs?state=settled",
    "failed deliveries": "/deliveries?status=failed",
    "one job": "/jobs/default/job1000000003",
    "one delivery": "/deliveries/dlv_10000000031",
    "one endpoint": "/endpoints/ep_1000000003",
    "search for an id": "/search?q=job100000",
    "search for a name": "/search?q=discovery",
}

Found = list[tuple[str, float, float, int]]
"""(page, milliseconds with few jobs, with many, bytes with many)."""


@asynccontextmanager
async def site(folder: Path, jobs: int) -> AsyncIterator[httpx.AsyncClient]:
    """A relay that does nothing but show its pages."""
    url = f"sqlite:///{folder}/{jobs}.db"
    await filled(url, jobs, EACH, system_clock())
    relay = await Relay.open(
        config.from_mapping({"exec": {"api_key": "exec_live_" + "0" * 40}, "storage": {"url": url}})
    )
    transport = httpx.ASGITransport(create_app(relay, owns_relay=False))
    asked = {"accept": "text/html"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=asked) as http:
        yield http
    await relay.stop()


async def measure(rounds: int = ROUNDS, many: int = MANY) -> Found:
    """Medians of `rounds`."""
    taken: dict[str, tuple[list[float], list[float]]] = {}
    size: dict[str, int] = {}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sites = [await stack.enter_async_context(site(folder, jobs)) for jobs in (FEW, many)]
        for _ in range(rounds):
            for place, http in enumerate(sites):
                for name, path in PAGES.items():
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

"""Deliveries a second: the relay's whole path beside loops that only post."""

import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

from benchmarks.databases import Server, postgresql
from benchmarks.speed import limit, subjects
from benchmarks.speed.cores import THEIRS
from benchmarks.speed.receiver import Receiver
from benchmarks.speed.runs import Run, cpu_ratio, medians, ratio, run
from benchmarks.speed.whole import fanned_out, relayed
from benchmarks.tables import Check, Report, Table

CONCURRENCIES = (50, 100, 500)
HOSTS = (1, 100)
ROUNDS = 5
SQLITE, POSTGRESQL = "the relay, SQLite", "the relay, PostgreSQL"
FAN_OUT = "the relay, SQLite, each event to all hosts"
FAN_OUT_POSTGRESQL = "the relay, PostgreSQL with its server, each event to all hosts"
LIMIT = "aiohttp and sqlite3 alone, each event to all hosts"
ITS_OWN, SAME, BARE = "httpx, its own transport", "httpx on aiohttp", "aiohttp alone"
LOOPS = {ITS_OWN: subjects.httpx_alone, SAME: subjects.httpx_on_aiohttp, BARE: subjects.aiohttp_alone}
NUMBERS = {ITS_OWN: 1_000, SAME: 10_000, BARE: 20_000}
NUMBERS |= dict.fromkeys((LIMIT, SQLITE, POSTGRESQL, FAN_OUT, FAN_OUT_POSTGRESQL), 10_000)
"""POSTs of one run: fewer of what is slow."""

ITS_MOST = 100
"""With 500, httpx's own transport closes connections that are in use, as its pool needs seconds to walk them all: its
requests fail with a ReadError."""

OF_SAME, OF_SAME_POSTGRESQL, OF_ITS_OWN, FLAT = 0.75, 0.6, 6.0, 0.8
MOST_OF_BARE = {FAN_OUT: 2.5, FAN_OUT_POSTGRESQL: 4.0}
"""How many times the CPU time of aiohttp alone one delivery may take if an event has many subscribers."""
WHY = (
    "a delivery is two rows, on the disk before and after the POST, in eleven indexes: with the signature the least is "
    "nearly another POST. The rest is what the relay adds: objects of rows, plan, fair shares, checks, log, metrics"
)
BUSY = 0.9
"""The receiver's share of its core at the most: else it might be what was measured."""

Case = tuple[str, int, int]
"""Who, how many at a time, to how many hosts."""
Found = Mapping[Case, Sequence[Run]]


def cases(quick: bool) -> list[Case]:
    """Everything that is measured."""
    if quick:
        return [
            *((who, 100, 1) for who in (ITS_OWN, BARE, SQLITE)),
            *((who, 100, 100) for who in (BARE, LIMIT, FAN_OUT)),
        ]
    ways = [(at_once, hosts) for at_once in CONCURRENCIES for hosts in HOSTS]
    all = [(who, *way) for way in ways for who in NUMBERS if who != ITS_OWN or way[0] <= ITS_MOST]
    all = [case for case in all if case[0] not in (LIMIT, *MOST_OF_BARE) or case[2] > 1]
    if find_spec("httpx_aiohttp") is None:
        print(f"LEFT OUT: {SAME}: the package httpx-aiohttp (requirements/bench.txt) is not installed", flush=True)
        return [case for case in all if case[0] != SAME]
    return all


def measure(quick: bool) -> Found:
    """All cases in turns, so that what the machine does meanwhile is shared by all."""
    asked = cases(quick)
    found: dict[Case, list[Run]] = {case: [] for case in asked}
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver(THEIRS))
        server = None if quick else stack.enter_context(postgresql(THEIRS))
        for _ in range(1 if quick else ROUNDS):
            for who, at_once, hosts in asked:
                number = NUMBERS[who] // (10 if quick else 1)
                before = receiver.seen()
                wish = {"port": receiver.port, "hosts": hosts, "concurrency": at_once, "number": number}
                took = run(loop, who=who, **wish) if who in LOOPS else relay_took(who, server, **wish)
                after = receiver.seen()
                assert after.posts - before.posts == number, f"{who}: {after.posts - before.posts} of {number} came"
                busy = (after.cpu - before.cpu) / took["seconds"]
                found[who, at_once, hosts].append(Run(number, took["seconds"], took["cpu"], busy))
    return found


async def loop(who: str, port: int, hosts: int, concurrency: int, number: int) -> dict[str, float]:
    """What one of the loops takes."""
    used = time.process_time()
    seconds = await LOOPS[who](subjects.urls(port, hosts), number, concurrency)
    return {"seconds": seconds, "cpu": time.process_time() - used}


def relay_took(who: str, server: Server | None, **wish: int) -> dict[str, float]:
    """What the relay or the least takes, on PostgreSQL a fan-out together with the database's server."""
    on_server = server is not None and who in (POSTGRESQL, FAN_OUT_POSTGRESQL)
    url = server.fresh() if server and on_server else None
    before = server.cpu() if server else 0.0
    subject = relay if who in (SQLITE, POSTGRESQL) else least if who == LIMIT else fan_out
    took: dict[str, float] = run(subject, url=url, **wish)
    if server and who == FAN_OUT_POSTGRESQL:
        took["cpu"] += server.cpu() - before
    return took


async def relay(url: str | None, port: int, hosts: int, concurrency: int, number: int) -> dict[str, float]:
    """What the relay takes for a queue that is filled before, on the database at `url`; None: on a SQLite file."""
    return await _took(relayed, url, port, hosts, concurrency, number)


async def fan_out(url: str | None, port: int, hosts: int, concurrency: int, number: int) -> dict[str, float]:
    """As `relay`, for jobs that end one after the other, each ending for all hosts."""
    return await _took(fanned_out, url, port, hosts, concurrency, number)


async def least(url: str | None, port: int, hosts: int, concurrency: int, number: int) -> dict[str, float]:
    """As `fan_out`, for the least that makes them."""
    return await _took(limit.fanned_out, url, port, hosts, concurrency, number)


async def _took(
    way: Callable[..., Awaitable[tuple[float, float]]],
    url: str | None,
    port: int,
    hosts: int,
    concurrency: int,
    number: int,
) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        store = url or f"sqlite:///{folder}/relay.db"
        seconds, cpu = await way(store, subjects.urls(port, hosts), number, concurrency)
    return {"seconds": seconds, "cpu": cpu}


def report(found: Found) -> Report:
    """How many a second, what one costs, and whether that is enough."""
    middle = {case: medians(runs) for case, runs in found.items()}
    who = list(dict.fromkeys(case[0] for case in found))
    ways = list(dict.fromkeys(case[1:] for case in found))
    head = ("", *(f"{at_once}, {hosts} host{'s' * (hosts > 1)}" for at_once, hosts in ways))
    cell: Any = lambda one, way, told: told(middle[one, *way]) if (one, *way) in middle else "-"  # noqa: E731
    tables = [
        Table(title, head, [[one, *(cell(one, way, told) for way in ways)] for one in who])
        for title, told in (
            ("Deliveries a second, by how many at a time", lambda one: f"{one.rate:,.0f}"),
            ("CPU microseconds of one", lambda one: f"{one.each:.0f}"),
            ("How much of its core the receiver took", lambda one: f"{one.busy:.0%}"),
        )
    ]
    return Report(tables, list(checks(found, middle)), bound="held to")


def checks(found: Found, middle: Mapping[Case, Run]) -> "list[Check]":
    """What deliveries are held to, as far as it was measured; of several cases the worst counts."""
    made = []
    for ours, theirs, least, ways in (
        (SQLITE, SAME, OF_SAME, None),
        (POSTGRESQL, SAME, OF_SAME_POSTGRESQL, None),
        (SQLITE, ITS_OWN, OF_ITS_OWN, 100),
    ):
        mine = [case for case in found if case[0] == ours and case[1] == (ways or case[1])]
        ratios = [ratio(found[case], found[theirs, *case[1:]]) for case in mine if (theirs, *case[1:]) in found]
        if ratios:
            where = f", {ways} at a time" if ways else ", worst case"
            what = f"{ours}, of {theirs}{where}"
            made.append(Check(what, f">= {least:g}×", f"{min(ratios):.2f}×", min(ratios) >= least))
    for ours, most in MOST_OF_BARE.items():
        mine = [case for case in found if case[0] == ours and (BARE, *case[1:]) in found]
        times = [cpu_ratio(found[case], found[BARE, *case[1:]]) for case in mine]
        if times:
            what = f"{ours}: CPU time of that of {BARE}, worst case"
            made.append(Check(what, f"<= {most:g}×", f"{max(times):.1f}×", max(times) <= most, WHY))
    for ours in (SQLITE, POSTGRESQL):
        for what, pairs in flat(found, ours).items():
            kept = min(ratio(found[many], found[few]) for few, many in pairs)
            made.append(Check(f"{ours}, {what}, worst case", f">= {FLAT:g}×", f"{kept:.2f}×", kept >= FLAT))
    busy = max(one.busy for case, one in middle.items() if case[0] != BARE)
    made.append(
        Check(
            "the receiver is not the bottleneck: its share of its core", f"<= {BUSY:.0%}", f"{busy:.0%}", busy <= BUSY
        )
    )
    return made


def flat(found: Found, who: str) -> dict[str, list[tuple[Case, Case]]]:
    """Pairs of cases that are to be about as fast, as far as they were measured: many connections and few, many hosts
    and one."""
    few, many = CONCURRENCIES[0], CONCURRENCIES[-1]
    pairs = {
        f"{many} at a time, of {few}": [((who, few, hosts), (who, many, hosts)) for hosts in HOSTS],
        f"{HOSTS[-1]} hosts, of one": [((who, at_once, 1), (who, at_once, HOSTS[-1])) for at_once in CONCURRENCIES],
    }
    measured = {what: [pair for pair in some if found.keys() >= set(pair)] for what, some in pairs.items()}
    return {what: some for what, some in measured.items() if some}

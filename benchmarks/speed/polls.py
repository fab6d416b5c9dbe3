"""Polls a second: the relay's whole path (claim, GET, check, plan, record) beside the same GETs of a bare httpx."""

import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence

import httpx

from benchmarks import tick
from benchmarks.speed.cores import THEIRS
from benchmarks.speed.receiver import EXEC, Receiver
from benchmarks.speed.runs import Run, medians, run
from benchmarks.speed.whole import relay_on
from benchmarks.tables import Report, Table
from relay.process import system_clock

NUMBER, ROUNDS = 3_000, 5
AT_A_TIME = 20
"""The default of `polling.concurrency`."""
RELAY, LOOP = "the relay, SQLite", "httpx, its own transport"

Found = Mapping[str, Sequence[Run]]


def measure(quick: bool) -> Found:
    """Both in turns."""
    number = NUMBER // (10 if quick else 1)
    found: dict[str, list[Run]] = {RELAY: [], LOOP: []}
    with Receiver(THEIRS) as receiver:
        for _ in range(1 if quick else ROUNDS):
            for who, subject in ((RELAY, relay), (LOOP, loop)):
                before = receiver.seen().polls
                took = run(subject, port=receiver.port, number=number)
                assert receiver.seen().polls - before == number
                found[who].append(Run(number, took["seconds"], took["cpu"]))
    return found


async def loop(port: int, number: int) -> dict[str, float]:
    """What the GETs alone take."""
    began, used = time.perf_counter(), time.process_time()
    left = iter(range(number))
    async with httpx.AsyncClient(trust_env=False) as client:

        async def work() -> None:
            for place in left:
                answer = await client.get(f"http://127.0.0.1:{port}{EXEC}/scenario-studio/jobs/j{place}")
                assert answer.json()["status"] == "processing"

        await asyncio.gather(*(work() for _ in range(AT_A_TIME)))
    return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - used}


async def relay(port: int, number: int) -> dict[str, float]:
    """What as many polls take, so many begun together."""
    exec = {"api_key": tick.KEY, "base_url": f"http://127.0.0.1:{port}{EXEC}", "budget": tick.NEVER_SPENT}
    with tempfile.TemporaryDirectory() as folder:
        async with relay_on(f"sqlite:///{folder}/relay.db", AT_A_TIME, 1, exec=exec) as made:
            now = system_clock()
            await made.store.write(lambda tx: tick.fill(tx, 0, number, now, due=True))
            began, used = time.perf_counter(), time.process_time()
            for _ in range(0, number, AT_A_TIME):
                await made.poller.tick()
                await made.poller.idle()
            return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - used}


def report(found: Found) -> Report:
    """How many a second, and what one costs."""
    middle = {who: medians(runs) for who, runs in found.items()}
    rows = [[who, f"{one.rate:,.0f}", f"{one.each:.0f}"] for who, one in middle.items()]
    head = (f"{AT_A_TIME} at a time", "polls a second", "CPU microseconds of one")
    return Report([Table("Polls", head, rows)])

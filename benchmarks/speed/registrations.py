"""Registrations a second, durable before they are answered, beside the same route that stores nothing."""

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

from benchmarks.databases import postgresql
from benchmarks.speed import asker, serving
from benchmarks.speed.cores import THEIRS
from benchmarks.speed.receiver import EXEC, Receiver
from benchmarks.speed.runs import Run, medians, ratio, run
from benchmarks.speed.serving import Server
from benchmarks.tables import Check, Report, Table

NUMBER, ROUNDS = 4_000, 5
AT_ONCE = 50
BATCH = 100
LEAST = 0.5

NOTHING, PLAIN = "the same route, storing nothing", "Starlette, reading and answering JSON"
SQLITE, POSTGRESQL = "the relay, SQLite", "the relay, PostgreSQL"
NEW, BATCHES = "the relay, SQLite, a new callback URL each", f"the relay, SQLite, {BATCH} in a request"
KEY = "relay_" + "k" * 43

Found = Mapping[str, Sequence[Run]]


def measure(quick: bool) -> Found:
    """All in turns, each server new."""
    number = NUMBER // (10 if quick else 1)
    found: dict[str, list[Run]] = {}
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver(THEIRS))
        databases = None if quick else stack.enter_context(postgresql(THEIRS))
        ways: dict[str, tuple[Callable[[], AbstractContextManager[Server]], str]] = {
            PLAIN: (serving.plain, "same"),
            NOTHING: (partial(on_sqlite, serving.storing_nothing, receiver.port), "same"),
            SQLITE: (partial(on_sqlite, serving.relay, receiver.port), "same"),
        }
        if databases is not None:
            ways[POSTGRESQL] = (lambda: serving.relay(wish(receiver.port, databases.fresh())), "same")
            ways |= {NEW: (ways[SQLITE][0], "new"), BATCHES: (ways[SQLITE][0], "batch")}
        for _ in range(1 if quick else ROUNDS):
            for who, (serve, kind) in ways.items():
                with serve() as server:
                    found.setdefault(who, []).append(asked(server, kind, number))
    return found


@contextmanager
def on_sqlite(serve: Callable[[Mapping[str, Any]], AbstractContextManager[Server]], exec_port: int) -> Iterator[Server]:
    """What is served, on a file of its own."""
    with tempfile.TemporaryDirectory() as folder, serve(wish(exec_port, f"sqlite:///{folder}/relay.db")) as server:
        yield server


def wish(exec_port: int, store: str) -> dict[str, Any]:
    """The relay's configuration: all as it comes, but that Exec and receivers are on this machine."""
    key = {"api_key": "exec_live_" + "0" * 40, "base_url": f"http://127.0.0.1:{exec_port}{EXEC}"}
    return {"exec": key, "storage": {"url": store}, "security": _security()}


def _security() -> dict[str, Any]:
    hash = f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"
    keys = [{"name": "bench", "hash": hash}]
    policy = 1_000_000  # a key may: the limit is on, and is not what is measured
    local = {"allow_http": True, "allow_networks": ["127.0.0.0/8"]}
    return {"secret_key": "k" * 43, "requests_per_minute": policy, "api_keys": keys, **local}


def asked(server: Server, kind: str, number: int) -> Run:
    """Time and CPU time of so many registrations."""
    before = server.cpu()
    seconds = run(asking, THEIRS, port=server.port, kind=kind, number=number)
    return Run(number, seconds, server.cpu() - before)


async def asking(port: int, kind: str, number: int) -> float:
    """Seconds that so many registrations take."""
    requests = [_posted(kind, place) for place in range(0, number, BATCH if kind == "batch" else 1)]
    began = time.perf_counter()
    came = await asker.ask(port, requests, AT_ONCE if kind != "batch" else 2)
    seconds = time.perf_counter() - began
    assert came == {200 if kind == "batch" else 201: len(requests)}, came
    return seconds


def _posted(kind: str, place: int) -> bytes:
    sent = [_registration(kind, one) for one in range(place, place + (BATCH if kind == "batch" else 1))]
    batch = kind == "batch"
    body = json.dumps({"registrations": sent} if batch else sent[0]).encode()
    return asker.post(f"/v1/registrations{'/batch' * batch}", body, f"authorization: Bearer {KEY}\r\n")


def _registration(kind: str, place: int) -> dict[str, Any]:
    url = "http://127.0.0.1/done" + (f"/{place}" if kind == "new" else "")
    return {"job_id": f"job{place:09d}", "callback_url": url, "metadata": {"team": "sales"}}


def report(found: Found) -> Report:
    """How many a second, what one costs, and whether that is enough."""
    rows = [
        [who, f"{one.rate:,.0f}", f"{one.each:.0f}"]
        for who, one in ((who, medians(runs)) for who, runs in found.items())
    ]
    title = f"Registrations a second, {AT_ONCE} requests at a time"
    times = ratio(found[SQLITE], found[NOTHING])
    why = (
        "a registration is its share of three statements and of a commit, on the core that serves HTTP too; half of "
        "that is spent in the library that makes them"
    )
    check = Check(f"{SQLITE}, of {NOTHING}", f">= {LEAST:g}×", f"{times:.2f}×", times >= LEAST, why)
    return Report(
        [Table(title, ("", "registrations a second", "CPU microseconds of one"), rows)], [check], bound="held to"
    )

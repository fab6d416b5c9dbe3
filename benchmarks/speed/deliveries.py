"""Deliveries a second: the relay's whole path beside loops that only post."""

from contextlib import ExitStack

from benchmarks.speed.databases import postgresql
from benchmarks.speed.receiver import Receiver
from benchmarks.speed.runs import THEIRS, Run, run

CONCURRENCIES = (50, 100, 500)
HOSTS = (1, 100)
ROUNDS = 5
NUMBERS = {"httpx": 1_500, "httpx on aiohttp": 10_000, "aiohttp": 20_000, "SQLite": 10_000, "PostgreSQL": 10_000}
"""POSTs of one run: fewer of what is slow."""
SAME = "httpx on aiohttp"

Case = tuple[str, int, int]
"""Who, how many at a time, to how many hosts."""
Found = dict[Case, list[Run]]


def cases(quick: bool) -> list[Case]:
    """Everything that is measured."""
    if quick:
        return [(who, 100, 1) for who in ("httpx on aiohttp", "SQLite")]
    all = [(who, at_once, hosts) for at_once in CONCURRENCIES for hosts in HOSTS for who in NUMBERS]
    return [case for case in all if case[0] != "httpx" or case[1] == 100]


def measure(quick: bool) -> Found:
    """All cases in turns, so that what the machine does meanwhile is shared by all."""
    asked = cases(quick)
    found: Found = {case: [] for case in asked}
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver(THEIRS))
        server = None if quick else stack.enter_context(postgresql(THEIRS))
        for _ in range(1 if quick else ROUNDS):
            for case in asked:
                who, at_once, hosts = case
                number = NUMBERS[who] // (10 if quick else 1)
                before = receiver.seen()
                wish = {"port": receiver.port, "hosts": hosts, "concurrency": at_once, "number": number}
                store = server.fresh() if server and who == "PostgreSQL" else None
                took = run(who if who not in ("SQLite", "PostgreSQL") else "relay", wish | {"store": store})
                after = receiver.seen()
                assert after.posts - before.posts == number, f"{who}: {after.posts - before.posts} of {number} came"
                busy = (after.cpu - before.cpu) / took["seconds"]
                found[case].append(Run(number, took["seconds"], took["cpu"], busy))
    return found

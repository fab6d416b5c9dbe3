"""What people would send webhooks with instead: Celery with Redis, and procrastinate on PostgreSQL.

Each does the same durable, signed POSTs to the same receiver, with the settings that its documentation gives for many
short tasks. None writes down what was answered, as the relay does. Compared is the CPU time of a delivery in all of its
processes, that of a broker or database included: the relay has its store in its own.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import astuple, dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from benchmarks.databases import postgresql
from benchmarks.speed import deliveries
from benchmarks.speed.cores import OURS, ROOT, THEIRS
from benchmarks.speed.receiver import Receiver
from benchmarks.speed.runs import run
from benchmarks.speed.subjects import BODY, urls
from benchmarks.speed.whole import SECRET
from benchmarks.tables import Check, Report, Table

NUMBER, ROUNDS = 4_000, 3
LEAST = 5
"""How many times as many deliveries as Celery's the relay is to make in a CPU second."""
_WARM = 10  # a peer is counted after a tenth of its tasks, so that its start is not
_PATIENCE = 300


@dataclass(frozen=True)
class Cost:
    """What one delivery cost, in microseconds."""

    wall: float
    cpu: float
    server: float
    """CPU time of the broker or database; 0 where there is none."""

    @property
    def whole(self) -> float:
        """CPU time in all."""
        return self.cpu + self.server


Found = dict[str, list[Cost]]


def measure(quick: bool) -> Found:
    """All in turns; who can't run here is left out, and said so."""
    number = NUMBER // (10 if quick else 1)
    found: Found = {}
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver(THEIRS))
        peers = [(name, start) for name, start in PEERS.items() if can_run(name)]
        for _ in range(1 if quick else ROUNDS):
            found.setdefault("the relay", []).append(of_relay(receiver, number * 2))
            for name, start in peers:
                found.setdefault(name, []).append(start(receiver, number))
    return found


def can_run(name: str) -> bool:
    """Whether the peer is installed; says so loudly where it is not."""
    needs = {"Celery, Redis": ("celery", "redis-server"), "procrastinate, PostgreSQL": ("procrastinate", "")}[name]
    module, program = needs
    missing = [] if find_spec(module) else [f"the package {module} (requirements/bench.txt)"]
    missing += [f"the program {program}"] if program and shutil.which(program) is None else []
    if missing:
        print(f"LEFT OUT: {name}: {' and '.join(missing)} is not installed", flush=True)
    return not missing


def of_relay(receiver: Receiver, number: int) -> Cost:
    """The relay's whole path on SQLite, as `deliveries` measures it."""
    took = run(deliveries.relay, url=None, port=receiver.port, hosts=1, concurrency=100, number=number)
    return Cost(1e6 * took["seconds"] / number, 1e6 * took["cpu"] / number, 0)


def of_celery(receiver: Receiver, number: int) -> Cost:
    """Two worker processes, as many as there are cores."""
    with redis() as (url, server):
        os.environ["PEER_BROKER"] = url
        lines = [f"from benchmarks.speed.celery_peer import post\nfor n in range({number}):"]
        lines += [f" post.delay({urls(receiver.port, 1)[0]!r}, f'peer_{{n}}', {BODY.decode()!r}, {SECRET!r})"]
        subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=ROOT, check=True)
        app = ["-A", "benchmarks.speed.celery_peer", "worker", "--pool", "prefork", "--concurrency", "2", "-l", "ERROR"]
        return worked(
            [sys.executable, "-m", "celery", *app, "--without-gossip", "--without-mingle"], receiver, number, server
        )


def of_procrastinate(receiver: Receiver, number: int) -> Cost:
    """One process with an event loop."""
    with postgresql(THEIRS) as server:
        os.environ["PEER_DATABASE"] = server.fresh()
        program = [sys.executable, "-m", "benchmarks.speed.procrastinate_peer"]
        subprocess.run([*program, "defer", urls(receiver.port, 1)[0], str(number)], cwd=ROOT, check=True)
        return worked([*program, "work"], receiver, number, server.process)


def worked(command: Sequence[str], receiver: Receiver, number: int, server: int) -> Cost:
    """What a delivery costs while the workers that `command` starts make them, counted after their start."""
    before = receiver.seen().posts
    process = subprocess.Popen(
        ["taskset", "-c", str(OURS), *command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        began = wait_for(receiver, before + number // _WARM, process, server)
        ended = wait_for(receiver, before + number, process, server)
        made = ended.posts - began.posts
        wall, cpu, theirs = (1e6 * (b - a) / made for a, b in zip(began.times, ended.times, strict=True))
        return Cost(wall, cpu, theirs)
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True)
class Moment:
    """How far it is: POSTs, and seconds of the clock, of the workers' CPU and of the server's."""

    posts: int
    times: tuple[float, float, float]


def wait_for(receiver: Receiver, posts: int, process: subprocess.Popen[bytes], server: int) -> Moment:
    """The moment when so many POSTs have come. Raises TimeoutError."""
    deadline = time.monotonic() + _PATIENCE
    while (seen := receiver.seen().posts) < posts:
        if process.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError(f"{seen} of {posts} POSTs came from {process.args!r}")
        time.sleep(0.05)
    return Moment(seen, (time.monotonic(), cpu_of(process.pid), cpu_of(server)))


def cpu_of(root: int) -> float:
    """CPU seconds of a process and all that came of it, also of what has ended."""
    family, used = psutil.Process(root), 0.0
    for process in (family, *family.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            used += sum(process.cpu_times()[:4])
    return used


@contextmanager
def redis() -> Iterator[tuple[str, int]]:
    """A Redis of our own that writes down every change, and its process."""
    folder = tempfile.mkdtemp(prefix="relay-redis-")
    socket = f"{folder}/redis.sock"
    asked = ["--port", "0", "--unixsocket", socket, "--dir", folder, "--appendonly", "yes", "--save", ""]
    process = subprocess.Popen(["taskset", "-c", str(THEIRS), "redis-server", *asked], stdout=subprocess.DEVNULL)
    try:
        while not Path(socket).exists():
            time.sleep(0.02)
        yield f"redis+socket://{socket}", process.pid
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def report(found: Found) -> Report:
    """What a delivery costs each, and how many times what the relay makes in a CPU second."""
    middle = {name: middle_of(costs) for name, costs in found.items()}
    ours = middle["the relay"]
    rows = [
        [
            name,
            f"{1e6 / one.whole:,.0f}",
            f"{ours.whole / one.whole:.2f}×",
            f"{1e6 / one.wall:,.0f}",
            f"{one.server / one.whole:.0%}",
        ]
        for name, one in middle.items()
    ]
    head = ("", "deliveries per CPU second", "of the relay's", "per second", "of its CPU, its server's")
    table = Table("The same durable, signed POSTs by others", head, rows)
    if (peer := middle.get("Celery, Redis")) is None:
        return Report([table])
    ratio = peer.whole / ours.whole
    what = "the relay's deliveries per CPU second, of Celery's"
    return Report([table], [Check(what, f">= {LEAST:g}×", f"{ratio:.1f}×", ratio >= LEAST)], bound="held to")


def middle_of(costs: Sequence[Cost]) -> Cost:
    """Medians."""
    wall, cpu, server = (statistics.median(column) for column in zip(*map(astuple, costs), strict=True))
    return Cost(wall, cpu, server)


PEERS = {"Celery, Redis": of_celery, "procrastinate, PostgreSQL": of_procrastinate}

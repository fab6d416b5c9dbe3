"""Imports point downward only, and the pure core stays pure: the relay's own files, and files made to be refused."""

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.layers import FLOOR_OF, PURE, ROOT, impurities, needs, part_of, wrong_imports


def modules() -> Iterator[tuple[str, Path]]:
    """Dotted name and file of every module of the relay."""
    for path in sorted((ROOT / "relay").rglob("*.py")):
        yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


@pytest.mark.parametrize(("module", "path"), list(modules()))
def test_imports_point_downward(module: str, path: Path) -> None:
    """No module imports what stands on a higher floor, or another part of its own."""
    assert wrong_imports(module, path.read_text(), package=path.stem == "__init__") == []


@pytest.mark.parametrize(("module", "path"), [found for found in modules() if FLOOR_OF.get(part_of(found[0])) == PURE])
def test_core_is_pure(module: str, path: Path) -> None:
    """The pure core awaits nothing and reads no clock, environment or file; randomness is handed to it."""
    assert impurities(module, path.read_text()) == []


def test_every_floor_holds_what_is_there() -> None:
    """The floors name the parts of the relay: none that is gone, and none is missing."""
    assert {part_of(module) for module, _ in modules()} - {""} == set(FLOOR_OF)


def test_no_module_leads_back_to_itself() -> None:
    """Whoever reads a module and then what it imports never comes back to it: there is an order to read them in."""
    sources = {module: path.read_text() for module, path in modules()}
    order = list(TopologicalSorter(needs(sources)).static_order())
    assert order.index("relay.times") < order.index("relay.store.tables.outbox") < order.index("relay.service")


def test_a_circle_is_found() -> None:
    """Also where one of its imports stands in a function."""
    circle = {"relay.a": "from relay import b", "relay.b": "def late():\n    from relay.a import x"}
    with pytest.raises(CycleError):
        TopologicalSorter(needs(circle)).prepare()


@pytest.mark.parametrize(
    ("module", "source", "reason"),
    [
        ("relay.polling.schedule.next_poll", "from relay.store import watches", "upward, from floor 1 to floor 2"),
        ("relay.polling.schedule.next_poll", "import relay.service", "upward, from floor 1 to floor 4"),
        ("relay.polling.schedule.next_poll", "from relay import model, watcher", "upward, from floor 1 to floor 3"),
        (
            "relay.polling.schedule.next_poll",
            "def late():\n    from relay.web.app import create_app",
            "upward, from floor 1 to floor 5",
        ),
        ("relay.formats.slack", "from .. import egress", "upward, from floor 1 to floor 2"),
        ("relay.formats.slack", "from ..store.outbox import lease", "upward, from floor 1 to floor 2"),
        ("relay.egress.http_client", "from relay.telemetry import Telemetry", "sideways, both on floor 2"),
        ("relay.polling.exec_client", "import relay.store.tables.watches as rows", "sideways, both on floor 2"),
        (
            "relay.polling.poller",
            "if TYPE_CHECKING:\n    from relay.delivery import Dispatcher",
            "sideways, both on floor 3",
        ),
        ("relay.web.api", "from relay.sandbox.exec_server import Exec", "sideways, both on floor 5"),
        ("relay.sandbox.demo", "from relay.web import app", "sideways, both on floor 5"),
        ("relay.web.app", "from relay.cli.options import read_config", "upward, from floor 5 to floor 6"),
        ("relay.misc", "", "relay/misc has no floor"),
        ("relay.service", "from relay import misc", "relay/misc has no floor"),
        ("relay", "from relay import egress", "upward, from floor 1 to floor 2"),
    ],
)
def test_wrong_import_is_refused(module: str, source: str, reason: str) -> None:
    """An upward or sideways import is found wherever it stands and however it is written."""
    assert [reason in line for line in wrong_imports(module, source)] == [True]


@pytest.mark.parametrize(
    ("module", "source", "package"),
    [
        ("relay.store.tables.watches", "from relay.store import registrations\nfrom . import dialect", False),
        ("relay.store", "from . import database\nfrom .outbox import lease", True),
        ("relay.delivery.retry_policy", "from relay import formats\nfrom relay.backoff import scheduled", False),
        ("relay.egress.http_client", "import relay\nfrom relay import __version__, errors", False),
        ("relay.cli.demo", "from relay.web.app import create_app\nfrom relay.sandbox.exec_server import Exec", False),
        ("relay.web.app", "import json\nfrom starlette.applications import Starlette", False),
    ],
)
def test_right_import_is_accepted(module: str, source: str, package: bool) -> None:
    """Downward imports, those inside a part, and those within the core are fine."""
    assert wrong_imports(module, source, package=package) == []


@pytest.mark.parametrize(
    "source",
    [
        "async def poll(): ...",
        "import time",
        "import asyncio",
        "from os import environ",
        "import socket",
        "from pathlib import Path",
        "from urllib.request import urlopen",
        "from secrets import token_bytes",
        "import httpx",
        "from sqlalchemy import select",
        "import random\nrandom.random()",
        "import random\nrandom.Random()",
        "from random import choice",
        "from datetime import datetime\ndatetime.now()",
        "import datetime\ndatetime.date.today()",
        "open('data')",
        "def read(path):\n    return path.read_text()",
        "def count():\n    global seen",
    ],
)
def test_impurity_is_found(source: str) -> None:
    """What reads a clock, the environment, files, the network or chance by itself is no part of the core."""
    assert len(impurities("relay.polling.schedule.next_poll", source)) == 1


def test_purity_has_three_exceptions() -> None:
    """The configuration reads its file and verifying reads the clock once, each in its own module only."""
    clock, file = (
        "import time\ntime.time_ns()",
        "from pathlib import Path\ndef read(path: Path): return path.read_text()",
    )
    assert impurities("relay.verify", clock) == impurities("relay.config.reader", file) == []
    assert len(impurities("relay.config", file)) == 1
    assert len(impurities("relay.verify", clock + "\ntime.sleep(1)")) == 1
    assert len(impurities("relay.signing.standard_webhooks", clock)) == 2


def test_pure_code_is_accepted() -> None:
    """Dates as types, randomness and time as arguments, and parsing by a listed library are fine."""
    source = """
import random, json, re, yaml
from datetime import UTC, datetime
from pydantic import BaseModel
def at(now: int, rng: random.Random) -> str:
    return datetime.fromtimestamp(now / 1_000 + rng.random() + random.Random(7).random(), UTC).isoformat()
"""
    assert impurities("relay.polling.schedule.next_poll", source) == []

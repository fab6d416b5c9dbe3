"""Imports point downward only, and the pure core stays pure: the relay's own files, and files made to be refused."""

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.layers import LAYER_OF, PURE, ROOT, impurities, is_pure, needs, package_of, wrong_imports


def modules() -> Iterator[tuple[str, Path]]:
    """Dotted name and file of every module of the relay."""
    for path in sorted((ROOT / "relay").rglob("*.py")):
        yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


@pytest.mark.parametrize(("module", "path"), list(modules()))
def test_imports_point_downward(module: str, path: Path) -> None:
    """No module imports a package of a higher layer, or another of its own layer."""
    assert wrong_imports(module, path.read_text(), is_package=path.stem == "__init__") == []


@pytest.mark.parametrize(("module", "path"), [(module, path) for module, path in modules() if is_pure(module)])
def test_pure_modules_have_no_effects(module: str, path: Path) -> None:
    """A pure module awaits nothing and reads no clock, environment or file; randomness is an argument."""
    assert impurities(module, path.read_text()) == []


def test_layers_name_every_package() -> None:
    """The layers name all packages of the relay and no other; the pure modules exist too."""
    names = {module.removeprefix("relay").removeprefix(".") for module, _ in modules()}
    assert {package_of(module) for module, _ in modules()} - {""} == set(LAYER_OF)
    assert names >= PURE


def test_the_root_has_few_files() -> None:
    """A reader meets packages first: at most eight modules besides `__init__` and `__main__` are directly in relay/."""
    files = [path.stem for path in (ROOT / "relay").glob("*.py") if not path.stem.startswith("__")]
    assert len(files) <= 6, files


def test_imports_have_no_circles() -> None:
    """There is an order to read the modules in, in which each imports only modules before it."""
    sources = {module: path.read_text() for module, path in modules()}
    order = list(TopologicalSorter(needs(sources)).static_order())
    assert order.index("relay.times") < order.index("relay.store.tables.outbox") < order.index("relay.service")


def test_circle_is_detected() -> None:
    """Also if one of its imports is inside a function."""
    circle = {"relay.a": "from relay import b", "relay.b": "def late():\n    from relay.a import x"}
    with pytest.raises(CycleError):
        TopologicalSorter(needs(circle)).prepare()


@pytest.mark.parametrize(
    ("module", "source", "reason"),
    [
        ("relay.model.watch", "from relay.store import Tx", "upward, from layer 2 to layer 4"),
        ("relay.store.tables.watches", "import relay.service", "upward, from layer 4 to layer 10"),
        ("relay.store.tables.outbox", "from relay import formats, model", "upward, from layer 4 to layer 5"),
        (
            "relay.polling.schedule.next_poll",
            "def late():\n    from relay.web.app import create_app",
            "upward, from layer 8 to layer 11",
        ),
        ("relay.formats.slack", "from .. import delivery", "upward, from layer 5 to layer 7"),
        ("relay.formats.slack", "from ..polling.poller import Poller", "upward, from layer 5 to layer 8"),
        ("relay.egress.http_client", "import relay.store.tables.watches as rows", "sideways, both in layer 4"),
        (
            "relay.delivery.dispatcher",
            "if TYPE_CHECKING:\n    from relay.polling import poller",
            "upward, from layer 7 to layer 8",
        ),
        ("relay.web.api", "from relay.sandbox.exec_server import FakeExec", "sideways, both in layer 11"),
        ("relay.sandbox.demo", "from relay.web import app", "sideways, both in layer 11"),
        ("relay.web.app", "from relay.cli.options import read_config", "upward, from layer 11 to layer 12"),
        ("relay.misc", "", "relay/misc has no layer"),
        ("relay.service", "from relay import misc", "relay/misc has no layer"),
        ("relay", "from relay import egress", "`verify` and no more"),
    ],
)
def test_wrong_import_is_refused(module: str, source: str, reason: str) -> None:
    """An upward or sideways import is detected wherever it is and however it is written."""
    assert [reason in line for line in wrong_imports(module, source)] == [True]


@pytest.mark.parametrize(
    ("module", "source", "is_package"),
    [
        ("relay.store.tables.watches", "from relay.store import registrations\nfrom . import dialect", False),
        ("relay.store", "from . import database\nfrom .outbox import lease", True),
        ("relay.delivery.retry_policy", "from relay import formats\nfrom relay.backoff import retry_delay", False),
        ("relay.egress.http_client", "import relay\nfrom relay import __version__, errors", False),
        ("relay.cli.demo", "from relay.web.app import create_app\nfrom relay.sandbox import exec_server", False),
        ("relay.web.app", "import json\nfrom starlette.applications import Starlette", False),
    ],
)
def test_right_import_is_accepted(module: str, source: str, is_package: bool) -> None:
    """Downward imports and those inside a package are accepted."""
    assert wrong_imports(module, source, is_package=is_package) == []


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
    """Code that reads a clock, the environment, files, the network or its own randomness is not pure."""
    assert len(impurities("relay.polling.schedule.next_poll", source)) == 1


def test_purity_has_three_exceptions() -> None:
    """The configuration reads its file and `verify` reads the clock once, each in its own module only."""
    clock, file = (
        "import time\ntime.time_ns()",
        "from pathlib import Path\ndef read(path: Path): return path.read_text()",
    )
    assert impurities("relay.verify", clock) == impurities("relay.config.reader", file) == []
    assert len(impurities("relay.config.schema", file)) == 1
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

"""All tortures: each hurts relays in one way for so many rounds, and gives the verdict."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.torture import killing
from tests.torture.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Torture:
    """`run` takes an empty folder and how often to hurt: `short` in the tests, `long` for `make torture`."""

    name: str
    what: str
    run: Callable[[Path, int], Coroutine[Any, Any, Verdict]]
    short: int
    long: int
    needs: Callable[[], str | None] = lambda: None
    """What is missing here, so that it can't be run; None: nothing."""


TORTURES = (
    Torture(
        name="kill-sqlite",
        what="kill -9 at random moments, one relay on SQLite",
        run=killing.on_sqlite,
        short=6,
        long=200,
    ),
    Torture(
        name="kill-postgresql",
        what="kill -9 at random moments, three relays on PostgreSQL",
        run=killing.on_postgresql,
        short=4,
        long=200,
    ),
)

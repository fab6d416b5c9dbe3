"""Counting what is asked of a database."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from relay.store import Store


@contextmanager
def counted(store: Store) -> Iterator[Counter[str]]:
    """The statements of a store, by their text, and the transactions, as BEGIN."""
    found = Counter[str]()

    def statement(_connection: Any, _cursor: Any, text: str, *_: Any) -> None:
        if not text.startswith("BEGIN"):
            found[text] += 1

    def begin(_: Any) -> None:
        found["BEGIN"] += 1

    engines, listeners = (store._engine, store._reader), {"before_cursor_execute": statement, "begin": begin}
    for engine in engines:
        for name, listener in listeners.items():
            event.listen(engine, name, listener)  # type: ignore[arg-type]
    yield found
    for engine in engines:
        for name, listener in listeners.items():
            event.remove(engine, name, listener)  # type: ignore[arg-type]

"""Records what a version of the relay asks of PostgreSQL, so that later ones can see that their tables still answer.

    python -m pytest -p tests.store.recording tests/flows tests/usecases tests/web

writes each statement once, with values that it came with, for the version of the tables that is the newest now. The
file is what `tests/store/test_versions.py` holds later migrations to; it is made when `migrate.OLDEST_COMPATIBLE`
changes.
"""

import base64
import json
import re
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, TextClause, event

from relay.store.engine import migrate

RECORDED = Path(__file__).parent / "recorded.json"

_VALUES = re.compile(r"%\(\w+\)s(::\w+)?(, %\(\w+\)s(::\w+)?)*|\(%\(.*%\(\w+\)s(::\w+)?\)")
_ASKS = re.compile("SELECT|INSERT|UPDATE|DELETE|WITH")
_statements: dict[str, dict[str, Any]] = {}


def pytest_configure() -> None:
    """Listens to every engine; not where this module is only read for what it wrote."""
    event.listen(Engine, "before_cursor_execute", _record)


def _record(_: Any, __: Any, statement: str, values: Any, context: Any, _many: bool) -> None:
    compiled = context.compiled if context is not None else None
    if compiled is None or isinstance(compiled.statement, TextClause) or context.dialect.name != "postgresql":
        return
    if not _ASKS.match(statement) or "alembic" in statement or "pg_catalog" in statement:
        return
    first = values[0] if isinstance(values, list) else values
    kept = {name: _plain(value) for name, value in (first or {}).items()}
    _statements.setdefault(_VALUES.sub("…", statement), {"statement": statement, "values": kept})


def _plain(value: Any) -> Any:
    value = getattr(value, "obj", value)  # psycopg wraps bytes
    return {"bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def unplain(value: Any) -> Any:
    """The value as it was before it was written as JSON."""
    return base64.b64decode(value["bytes"]) if isinstance(value, dict) else value


def pytest_sessionfinish() -> None:
    """Writes what was recorded."""
    found = {"version": migrate.newest(), "statements": [one for _, one in sorted(_statements.items())]}
    RECORDED.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")

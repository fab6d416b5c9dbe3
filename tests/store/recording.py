"""Records the SQL statements of one version of the relay, to test that they still work in the tables of later ones.

    python -m pytest -p tests.store.recording tests/flows tests/usecases tests/web

writes each statement once, with values of one execution, for the newest version of the tables.
`tests/store/test_versions.py` runs them in the tables of later migrations. Record again when
`migrate.OLDEST_COMPATIBLE` changes.
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
    """Records the statements of every engine, if pytest loads this module as a plugin."""
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
    """The value that `_plain` wrote as JSON."""
    return base64.b64decode(value["bytes"]) if isinstance(value, dict) else value


def pytest_sessionfinish() -> None:
    """Writes the recorded statements."""
    recording = {"version": migrate.newest(), "statements": [statement for _, statement in sorted(_statements.items())]}
    RECORDED.write_text(json.dumps(recording, indent=1, ensure_ascii=False) + "\n")

"""Checks a store as a starting relay would, without changing anything."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from relay.errors import StoreError
from relay.security import FieldCipher
from relay.store.engine import dialect, file_access, migrate
from relay.store.engine.database import connect
from relay.store.maintenance import reencrypt


def preflight_check(url: str, cipher: FieldCipher, versions: Sequence[Path] = migrate.VERSIONS) -> str:
    """The state of a store, as a phrase; a relay may be using it. Raises StoreError if no relay could start on it."""
    parsed = dialect.parse(url)
    if dialect.is_sqlite(parsed):
        path = Path(str(parsed.database)).absolute()
        if not file_access.writable(path):
            raise StoreError(file_access.refusal(path, "it can't be written"))
        if not path.exists():
            return "does not exist yet; `relay serve` creates it"
    try:
        with connect(url, cipher) as tx:
            current, needs_upgrade = migrate.version_of(tx), migrate.needs_upgrade(tx, versions=versions)
            reencrypt.check(tx)
    except DBAPIError as error:
        raise dialect.to_store_error(error) from error
    if current is None:
        return "is empty; `relay serve` creates its tables"
    if needs_upgrade:
        return (
            f"its tables are at version {current}; `relay serve` upgrades them: make a backup first, there is "
            "no other way back"
        )
    if current != migrate.newest(versions):
        return f"can be read; its tables are at version {current}, newer than this relay's, which can work in them"
    return "can be read, and its tables are those of this version"

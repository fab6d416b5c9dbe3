"""Errors of the database drivers, explained to the operator without statement, values or password."""

import re

_READ_ONLY = "25006"
_NOT_SUPPORTED = "0A000"

_LOCK_NOT_AVAILABLE = "55P03"

_NOT_YET = "starting up|shutting down|not yet accepting|in recovery|too many|connection slots"
"""What PostgreSQL itself says if it lets nobody in for now."""
_UNREACHED = "connection refused|timeout expired|timed out|(resolve|translate) host|no such file|no route to host"

_MAX_REASON = 200

_REASON = re.compile(r"(?:port \d+|socket \"[^\"]*\") failed: (?P<reason>.*)", re.DOTALL)
"""libpq names the server before its reason. The name is cut off, so that no meaning matches it by accident."""


def is_read_only(error: BaseException | None) -> bool:
    """Whether the server is a standby, or has become one: it reads, but accepts no writes."""
    sqlstate = getattr(error, "sqlstate", None)
    return sqlstate == _READ_ONLY or (sqlstate == _NOT_SUPPORTED and "recovery" in str(error))


def is_temporary(error: BaseException | None) -> bool:
    """Whether a database that starts, or that a colleague starts soon, fails like this: it does not answer, has no
    address, lets nobody in yet, has no connection left, or another transaction holds a table."""
    if getattr(error, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
        return True
    text = str(error)
    if "FATAL" in text:
        return re.search(_NOT_YET, text, re.IGNORECASE) is not None
    return re.search(_UNREACHED, text, re.IGNORECASE) is not None


def explain(error: BaseException | None) -> str:
    """The meaning of a driver's error, and what to do about it."""
    text = str(error)
    from_libpq = _REASON.search(text)
    reason = from_libpq["reason"] if from_libpq else text
    if is_read_only(error):
        return _STANDBY
    for pattern, meaning in _MEANINGS.items():
        if match := re.search(pattern, reason, re.IGNORECASE):
            return meaning.format(**match.groupdict())
    if from_libpq or re.search("connection|ssl ", text, re.IGNORECASE):
        return f"the database can't be reached{_first_line(reason)}; is PostgreSQL running, and is storage.url right?"
    sqlstate = getattr(error, "sqlstate", None)
    return f"the store failed: {type(error).__name__}{f' ({sqlstate})' if sqlstate else ''}"


def _first_line(reason: str) -> str:
    """The first line of libpq's reason, which never contains the password."""
    line = (
        reason.strip()
        .partition("\n")[0]
        .removeprefix("FATAL:")
        .strip()
        .removeprefix("connection is bad: ")
        .replace('"', "")
    )
    return f": {line[:_MAX_REASON]}" if line else ""


_STANDBY = (
    "the database is read-only: storage.url leads to a standby, or PostgreSQL fails over and has no new primary yet"
)

TRANSACTION_POOLER = (
    "storage.url leads to a pooler that shares its connections by transaction or statement; give the relay one that "
    "keeps sessions (in PgBouncer's words pool_mode = session), or PostgreSQL itself"
)

_MEANINGS = {
    r"(?:invalid uri query parameter:|invalid connection option) \"(?P<name>[^\"]+)\"": (
        "storage.url: {name} is not a parameter of PostgreSQL; remove it"
    ),
    r"invalid integer value \"[^\"]*\" for connection option \"(?P<name>[^\"]+)\"": (
        "storage.url: PostgreSQL does not accept the value of {name}"
    ),
    "invalid port number": "storage.url: the port is not a number from 1 to 65535",
    "percent-encoded token": "storage.url: a % in a user, password or name is written %25",
    r"invalid (?P<name>\w+) value": "storage.url: PostgreSQL does not accept the value of {name}",
    r"(?:resolve host|translate host name) ['\"](?P<host>[^'\"]*)['\"]": (
        "storage.url: the host name {host} has no address; is it spelt right, and can this machine resolve it?"
    ),
    "does not support ssl": "the database does not support TLS, which sslmode in storage.url demands",
    "ssl connection is required|no encryption": (
        "the database accepts only TLS from this machine; add sslmode=require to storage.url"
    ),
    "certificate": "the database's TLS certificate is not accepted; see sslmode and sslrootcert in storage.url",
    "prepared statement|statement pooling": TRANSACTION_POOLER,
    "permission denied for schema": (
        "PostgreSQL does not let the user of storage.url create tables: make it the owner of the database, or run "
        "GRANT CREATE ON SCHEMA public TO that user"
    ),
    "permission denied": "PostgreSQL does not let the user of storage.url use the relay's tables: make it their owner",
    'relation ".*" does not exist|no such table': (
        "tables of the relay are missing in the database that storage.url names; restart the relay, which creates them"
    ),
    "statement timeout": "PostgreSQL cancelled a statement after its statement_timeout; raise that for this user",
    "session is read-only|in recovery|hot standby": _STANDBY,
    "locked": "the store is locked by another process; close the other program that has the database open",
    "readonly": "the store can't be written: the file or its folder is read-only for this user",
    "read-only": "the store can't be written: the database is read-only",
    "full": "the store can't be written: the disk is full",
    "no space": "the store can't be written: the disk is full",
    "unable to open": "the store can't be opened: does its folder exist, and may this user write to it?",
    "not a database": "the file that storage.url names is not a SQLite database",
    "malformed": "the SQLite file is damaged; restore it from a backup",
    "disk i/o": "the disk failed while the store was read or written",
    "lock timeout": "another transaction holds the rows or tables to change; is another program using the database?",
    "too many": "PostgreSQL has no connection left; raise its max_connections, or run fewer relays",
    "connection slots": "PostgreSQL has no connection left; raise its max_connections, or run fewer relays",
    "database .* does not exist": "PostgreSQL has no such database; create it (`createdb`), or correct storage.url",
    "role .* does not exist": "PostgreSQL has no such user; create it (`createuser`), or correct storage.url",
    "password": "PostgreSQL refused the user or password of storage.url",
}

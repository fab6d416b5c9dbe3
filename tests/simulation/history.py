"""The history of the rows: triggers of the database note each change of a delivery or watch, and rules judge them.

The relay knows nothing of it. The same rules judge the traces of real relays on PostgreSQL, and the model breaks none.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from relay.model import Instant
from tests.simulation.rules import Rule

_COLUMNS = ("status", "leased_by", "next_attempt_at", "attempts")
_WATCH_COLUMNS = ("state", "leased", "next_poll_at", "polls")


def _logged(table: str, key: str, columns: tuple[str, ...], now: str, prefix: str) -> str:
    values = [f"{prefix}{row}.{name}" for name in columns for row in ("OLD", "NEW")]
    return f"INSERT INTO row_history VALUES (NULL, '{table}', {prefix}NEW.{key}, {now}, {', '.join(values)})"  # noqa: S608 (constants)


TRIGGERS = (
    "CREATE TABLE row_history (n INTEGER PRIMARY KEY, tab TEXT, id TEXT, at INTEGER, old_status TEXT, new_status TEXT,"
    " old_lease TEXT, new_lease TEXT, old_due INTEGER, new_due INTEGER, old_count INTEGER, new_count INTEGER)",
    "CREATE TRIGGER delivery_history AFTER UPDATE ON deliveries BEGIN "
    + _logged("delivery", "id", _COLUMNS, "simulated_now()", "")
    + "; END",
    "CREATE TRIGGER watch_history AFTER UPDATE ON watches BEGIN "
    + _logged("watch", "job_id", _WATCH_COLUMNS, "simulated_now()", "")
    + "; END",
    "CREATE TABLE lease_history (delivery TEXT, token TEXT, until INTEGER)",
    "CREATE TRIGGER lease_at_once AFTER INSERT ON deliveries WHEN NEW.leased_by IS NOT NULL BEGIN "
    "INSERT INTO lease_history VALUES (NEW.id, NEW.leased_by, NEW.next_attempt_at); END",
    "CREATE TRIGGER lease_later AFTER UPDATE ON deliveries WHEN NEW.leased_by IS NOT NULL BEGIN "
    "INSERT INTO lease_history VALUES (NEW.id, NEW.leased_by, NEW.next_attempt_at); END",
    "CREATE TABLE budget_history (at INTEGER)",
    "CREATE TRIGGER budget_spent AFTER UPDATE ON workspaces WHEN NEW.ledger IS NOT OLD.ledger BEGIN "
    "INSERT INTO budget_history VALUES (simulated_now()); END",
)
"""For SQLite. `simulated_now` is a function of the connection."""

HAS_LEASE = (
    "SELECT 1 FROM lease_history JOIN deliveries ON deliveries.id = lease_history.delivery"
    " JOIN endpoints ON endpoints.id = deliveries.endpoint_id WHERE deliveries.event_id = :event"
    " AND endpoints.url = :url AND token LIKE :owner || '.%' AND until >= :until"
)
"""Whether a relay leased the delivery of an event to a URL until then or later."""

WAS_SPENT = "SELECT 1 FROM budget_history WHERE at >= :since"
"""Whether anything was spent since then."""

_PG_COLUMNS = "tab, id, at, old_status, new_status, old_lease, new_lease, old_due, new_due, old_count, new_count"
_PG_NOW = "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"


def _postgresql_function(table: str, key: str, columns: tuple[str, ...]) -> str:
    texts = [f"CAST({row}.{name} AS TEXT)" for name in columns[:2] for row in ("OLD", "NEW")]
    numbers = [f"{row}.{name}" for name in columns[2:] for row in ("OLD", "NEW")]
    values = ", ".join([f"'{table}'", f"NEW.{key}", _PG_NOW, *texts, *numbers])
    insert = f"INSERT INTO row_history ({_PG_COLUMNS}) VALUES ({values})"  # noqa: S608 (constants)
    return f"CREATE FUNCTION log_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {insert}; RETURN NULL; END $$"


POSTGRESQL_TRIGGERS = (
    "CREATE TABLE row_history (n BIGSERIAL PRIMARY KEY, tab TEXT, id TEXT, at BIGINT, old_status TEXT, new_status TEXT,"
    " old_lease TEXT, new_lease TEXT, old_due BIGINT, new_due BIGINT, old_count INTEGER, new_count INTEGER)",
    _postgresql_function("delivery", "id", _COLUMNS),
    _postgresql_function("watch", "job_id", _WATCH_COLUMNS),
    "CREATE TRIGGER delivery_history AFTER UPDATE ON deliveries FOR EACH ROW EXECUTE FUNCTION log_delivery()",
    "CREATE TRIGGER watch_history AFTER UPDATE ON watches FOR EACH ROW EXECUTE FUNCTION log_watch()",
)
"""The same for PostgreSQL, with its own clock. A row is locked while it changes, so its changes are in order."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a row: of a delivery its status, lease, next attempt and attempts; of a watch the like."""

    n: int
    table: str
    id: str
    at: Instant
    old_status: str
    new_status: str
    old_lease: str | None
    new_lease: str | None
    old_due: Instant | None
    new_due: Instant | None
    old_count: int
    new_count: int

    @property
    def was_leased(self) -> bool:
        return self.old_lease not in (None, "0", "false")

    @property
    def is_leased(self) -> bool:
        return self.new_lease not in (None, "0", "false")

    @property
    def is_new_lease(self) -> bool:
        """Whether it begins a lease: a watch has no token, but a lease that reaches further."""
        if not self.is_leased or self.new_due is None:
            return False
        return self.new_lease != self.old_lease or (self.table == "watch" and self.new_due != self.old_due)


DELIVERY_STEPS = frozenset(
    {
        ("pending", "pending"),
        ("pending", "delivered"),
        ("pending", "failed"),
        ("pending", "cancelled"),
        ("cancelled", "delivered"),
        ("failed", "delivered"),
        ("cancelled", "pending"),
        ("failed", "pending"),
        ("delivered", "pending"),
        ("delivered", "delivered"),
    }
)
"""A cancelled delivery becomes delivered if its attempt in flight succeeds, pending if its job is registered again. A
failed or delivered one becomes pending by a resend only."""

WATCH_STEPS = frozenset(
    {("active", end) for end in ("active", "settled", "not_found", "expired", "withdrawn")}
    | {(end, "active") for end in ("not_found", "expired", "withdrawn")}
    | {(end, end) for end in ("settled", "not_found", "expired", "withdrawn")}
)


def broken_rules(changes: Iterable[Change], tolerance: int = 0, clock_is_steady: bool = True) -> Iterator[str]:
    """What the changes of rows broke, each as a text that begins with the rule's name.

    `tolerance` is by how many milliseconds the database's clock may differ from a relay's.
    """
    for change in changes:
        for rule in _broken_by(change, tolerance, clock_is_steady):
            yield f"{rule.value}: {change}"


def _broken_by(change: Change, tolerance: int, clock_is_steady: bool) -> Iterator[Rule]:
    steps = DELIVERY_STEPS if change.table == "delivery" else WATCH_STEPS
    if (change.old_status, change.new_status) not in steps:
        yield Rule.STATES_IN_ORDER
    if change.is_leased and change.new_due is None:
        yield Rule.LEASE_EXPIRES
    if change.table == "delivery" and change.new_status != "pending" and (change.is_leased or change.new_due):
        yield Rule.ENDED_IS_NOT_DUE
    not_due = change.old_due is not None and change.old_due > change.at + tolerance
    if clock_is_steady and change.is_new_lease and not_due:
        yield Rule.LEASE_ONLY_DUE
    is_counted = change.new_status in ("pending", "failed") and change.new_count > change.old_count
    if change.table == "delivery" and is_counted and not change.was_leased:
        yield Rule.RESULT_NEEDS_LEASE

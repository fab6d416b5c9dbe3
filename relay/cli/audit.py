"""`relay audit`: the audit log of the store."""

from pathlib import Path
from typing import Any

import click

from relay.cli.options import config_option, read_config
from relay.cli.output import print_json
from relay.cli.table import Column, show_table
from relay.model import AuditAction, AuditEntry, to_rfc3339
from relay.store import Page, read_only
from relay.store.engine.paging import MAX_PAGE_SIZE
from relay.store.tables import audit


@click.command("audit")
@config_option
@click.option("--action", type=click.Choice([action.value for action in AuditAction]), help="Only these entries.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one entry a line.")
def command(path: Path | None, action: str | None, limit: int, as_json: bool) -> None:
    """List who did what, newest first: endpoints and keys, resends, logins, refusals, and commands like this one.

    Works on the store itself, while a relay runs or not. Entries are kept for storage.retention_of.audit.

    \b
    Examples:
      relay audit
      relay audit --action key.revoked
      relay audit --limit 100000 --json > audit.jsonl
    """
    url, kind = read_config(path).storage.url, AuditAction(action) if action else None
    entries: list[AuditEntry] = []
    cursor: str | None = None
    while len(entries) < limit:
        page = Page(min(MAX_PAGE_SIZE, limit - len(entries)), cursor)
        rows, cursor = read_only(url, lambda tx, page=page: audit.page(tx, page, kind))  # type: ignore[misc]
        entries += rows
        if cursor is None:
            break
    if as_json:
        for entry in entries:
            print_json(audit.to_json(entry), indent=None)
        return
    show_table(entries, _COLUMNS)


def _who(entry: AuditEntry) -> str:
    names = [name for name in (entry.actor.user, entry.actor.key and f"key {entry.actor.key}") if name]
    return ", ".join(names) or entry.actor.via.value


def _detail(entry: AuditEntry) -> str:
    return ", ".join(f"{name}: {_text(value)}" for name, value in entry.detail.items())


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


_COLUMNS: dict[str, Column[AuditEntry]] = {
    "when": Column(lambda entry: to_rfc3339(entry.at), is_time=True),
    "what": Column(lambda entry: entry.action.value),
    "who": Column(_who, flexible=True),
    "to": Column(lambda entry: entry.name or entry.target, flexible=True),
    "via": Column(lambda entry: entry.actor.via.value, optional=True),
    "from": Column(lambda entry: entry.actor.address, optional=True),
    "detail": Column(_detail, flexible=True, optional=True),
}

"""The audit log. An entry is written in the transaction of the act, so that neither is there without the other."""

import json
from typing import Any

from sqlalchemy import Row, delete, insert, select

from relay.model import Actor, AuditAction, AuditEntry, Instant, Via, to_rfc3339
from relay.store.engine import paging
from relay.store.engine.database import Tx, new_row_id
from relay.store.engine.schema import audit

_ORDER = (audit.c.at, audit.c.id)
_ADD = insert(audit)


def add(
    tx: Tx,
    actor: Actor,
    action: AuditAction,
    now: Instant,
    target: str | None = None,
    name: str | None = None,
    **detail: object,
) -> None:
    """Adds an entry: `actor` did `action` to `target`, whose name is `name`.

    `detail` has counts and names of fields, never their values: those may be secrets.
    """
    row = {"id": new_row_id(tx, "aud", now), "at": now, "action": action.value, "via": actor.via.value}
    row |= {"key_name": actor.key, "key_id": actor.key_id, "user_name": actor.user, "address": actor.address}
    row |= {"target": target, "name": name, "detail": json.dumps(detail, ensure_ascii=False)}
    tx.execute(_ADD, row)


def page(tx: Tx, page: paging.Page, action: AuditAction | None = None) -> tuple[list[AuditEntry], str | None]:
    """One page of entries, newest first, and the cursor of the next."""
    query = select(audit) if action is None else select(audit).where(audit.c.action == action.value)
    rows, cursor = paging.split_page(tx.execute(paging.apply_page(query, _ORDER, page)).all(), page, _ORDER)
    return [_entry(row) for row in rows], cursor


def prune(tx: Tx, before: Instant, limit: int) -> int:
    """Deletes at most `limit` entries made before `before`, the oldest first. Returns how many."""
    old = select(audit.c.id).where(audit.c.at < before).order_by(*_ORDER).limit(limit)
    return tx.execute(delete(audit).where(audit.c.id.in_(old))).rowcount


def to_json(entry: AuditEntry) -> dict[str, Any]:
    """The entry as JSON values, as the API and the command show it."""
    actor = entry.actor
    return {
        "id": entry.id,
        "at": to_rfc3339(entry.at),
        "action": entry.action.value,
        "via": actor.via.value,
        "key": actor.key,
        "key_id": actor.key_id,
        "user": actor.user,
        "address": actor.address,
        "target": entry.target,
        "name": entry.name,
        "detail": dict(entry.detail),
    }


def _entry(row: Row[Any]) -> AuditEntry:
    actor = Actor(via=Via(row.via), key=row.key_name, key_id=row.key_id, user=row.user_name, address=row.address)
    return AuditEntry(
        id=row.id,
        at=row.at,
        action=AuditAction(row.action),
        actor=actor,
        target=row.target,
        name=row.name,
        detail=json.loads(row.detail),
    )

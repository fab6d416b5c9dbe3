"""Registrations: the endpoints that are notified about a job."""

import json
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Row, and_, bindparam, insert, select, update

from relay.model import Endpoint, EndpointKind, EventType, Registration, RegistrationStatus
from relay.store.engine import paging
from relay.store.engine.database import Tx
from relay.store.engine.schema import registrations
from relay.store.tables import endpoints

Subscriber = tuple[Endpoint, Registration | None]
"""An endpoint that gets an event, and its registration (None: a standing endpoint, which gets every job's events)."""

_OF_JOB = and_(registrations.c.workspace == bindparam("of"), registrations.c.job_id == bindparam("of_job"))
_IS_ACTIVE = and_(_OF_JOB, registrations.c.status == RegistrationStatus.ACTIVE.value)

_ADD = insert(registrations)
_MARK_ENDED = update(registrations).where(_IS_ACTIVE).values(status=RegistrationStatus.SETTLED.value)
_NOT_WITHDRAWN = registrations.c.status != RegistrationStatus.WITHDRAWN.value
_ACTIVE = select(registrations).where(_IS_ACTIVE)
_ACTIVE_AND_ENDED = select(registrations).where(_OF_JOB, _NOT_WITHDRAWN)
_ALL_OF_JOB = _ACTIVE_AND_ENDED.order_by(registrations.c.created_at, registrations.c.id)
_FIND_ACTIVE = select(registrations).where(
    _OF_JOB, registrations.c.endpoint_id == bindparam("endpoint"), _NOT_WITHDRAWN
)


def _row(registration: Registration) -> dict[str, Any]:
    row = {name: getattr(registration, name) for name in registration.__slots__}
    row["endpoint_id"] = registration.endpoint_id or ""
    row["status"] = registration.status.value
    row["events"] = json.dumps([event.value for event in registration.events])
    row["metadata"] = json.dumps(registration.metadata, ensure_ascii=False)
    return row


def _registration(row: Row[Any]) -> Registration:
    values = dict(row._mapping)
    values["endpoint_id"] = values["endpoint_id"] or None
    values["status"] = RegistrationStatus(values["status"])
    values["events"] = tuple(EventType(event) for event in json.loads(values["events"]))
    values["metadata"] = json.loads(values["metadata"])
    return Registration(**values)


def add(tx: Tx, registration: Registration) -> None:
    """Adds a registration of a job and an endpoint that are not registered yet."""
    add_all(tx, [registration])


def add_all(tx: Tx, new: Sequence[Registration]) -> None:
    """As `add`, for several."""
    if new:
        tx.execute(_ADD, [_row(registration) for registration in new])


def get(tx: Tx, id: str) -> Registration | None:
    """The registration with this id. It can change unless the caller holds the watch of its job."""
    row = tx.execute(select(registrations).where(registrations.c.id == id)).one_or_none()
    return _registration(row) if row else None


def get_many(tx: Tx, ids: Collection[str]) -> dict[str, Registration]:
    """The registrations with these ids, by id; as `get`."""
    rows = tx.execute(select(registrations).where(registrations.c.id.in_(list(ids)))) if ids else ()
    return {row.id: _registration(row) for row in rows}


def find_active(tx: Tx, workspace: str, job_id: str, endpoint_id: str | None) -> Registration | None:
    """The registration of this job and endpoint that is not withdrawn."""
    row = tx.execute(_FIND_ACTIVE, {"of": workspace, "of_job": job_id, "endpoint": endpoint_id or ""}).one_or_none()
    return _registration(row) if row else None


def save(tx: Tx, registration: Registration) -> None:
    """Writes all values of the registration; the caller holds the watch of its job."""
    tx.execute(update(registrations).where(registrations.c.id == registration.id), _row(registration))


def mark_ended(tx: Tx, workspace: str, *job_ids: str) -> None:
    """Marks the active registrations of ended jobs as settled."""
    if job_ids:
        tx.execute(_MARK_ENDED, [{"of": workspace, "of_job": job_id} for job_id in job_ids])


def not_withdrawn(tx: Tx, workspace: str, job_id: str) -> list[Registration]:
    """The registrations of a job, ended ones included, oldest first. The caller holds the job's watch."""
    return [_registration(row) for row in tx.execute(_ALL_OF_JOB, {"of": workspace, "of_job": job_id})]


def lock_subscribers(
    tx: Tx,
    workspace: str,
    job_id: str,
    type: EventType,
    with_ended: bool = False,
    candidates: Sequence[Registration] | None = None,
) -> list[Subscriber]:
    """The subscribers of an event, each endpoint once; a registration's event filter overrides the endpoint's.
    Those that are pulled are none: they read the feed.

    `with_ended`: also registrations that ended when the relay gave the job up. The caller holds the job's watch. Locks
    the endpoints FOR KEY SHARE, so that none is removed before the commit. `candidates`: what `not_withdrawn` has read.
    """
    if candidates is None:
        query = _ACTIVE_AND_ENDED if with_ended else _ACTIVE
        candidates = [_registration(row) for row in tx.execute(query, {"of": workspace, "of_job": job_id})]
    active = [item for item in candidates if with_ended or item.status is RegistrationStatus.ACTIVE]
    receivers = endpoints.lock_standing_and(tx, [item.endpoint_id for item in active if item.endpoint_id])
    subscribers: dict[str, Subscriber] = {}
    for item in active:
        if item.endpoint_id in receivers:
            subscribers[item.endpoint_id] = (receivers[item.endpoint_id], item)
    for endpoint in receivers.values():
        if endpoint.kind is EndpointKind.STANDING:
            subscribers.setdefault(endpoint.id, (endpoint, None))
    return [
        (endpoint, item)
        for endpoint, item in subscribers.values()
        if type in (item.events if item else endpoint.events) and not endpoint.is_pulled
    ]


def of_job(tx: Tx, workspace: str, job_id: str, limit: int) -> list[Registration]:
    """The latest registrations of a job, newest first, withdrawn ones included."""
    query = select(registrations).where(registrations.c.workspace == workspace, registrations.c.job_id == job_id)
    rows = tx.execute(query.order_by(registrations.c.created_at.desc(), registrations.c.id.desc()).limit(limit))
    return [_registration(row) for row in rows]


def has_active(tx: Tx, endpoint_id: str) -> bool:
    """Whether an active registration names the endpoint."""
    of_endpoint = (
        registrations.c.endpoint_id == endpoint_id,
        registrations.c.status == RegistrationStatus.ACTIVE.value,
    )
    return tx.execute(select(registrations.c.id).where(*of_endpoint).limit(1)).first() is not None


def standing_at(tx: Tx, endpoint_id: str, limit: int) -> dict[str, tuple[str, str]]:
    """Registrations of an endpoint that are not withdrawn, at most `limit`: by id, the job (workspace, job id)."""
    query = select(registrations.c.id, registrations.c.workspace, registrations.c.job_id).limit(limit)
    query = query.where(registrations.c.endpoint_id == endpoint_id, _NOT_WITHDRAWN)
    return {row.id: (row.workspace, row.job_id) for row in tx.execute(query)}


def withdraw(tx: Tx, ids: Collection[str]) -> None:
    """Withdraws registrations; the caller holds the watches of their jobs."""
    tx.execute(
        update(registrations).where(registrations.c.id.in_(ids), _NOT_WITHDRAWN),
        {"status": RegistrationStatus.WITHDRAWN.value},
    )


def page(
    tx: Tx,
    page: paging.Page,
    job_id: str | None = None,
    endpoint_id: str | None = None,
    status: RegistrationStatus | None = None,
) -> tuple[list[Registration], str | None]:
    """One page of registrations, newest first, and the cursor of the next."""
    query = select(registrations)
    if job_id is not None:
        query = query.where(registrations.c.job_id == job_id)
    if endpoint_id is not None:
        query = query.where(registrations.c.endpoint_id == endpoint_id)
    if status is not None:
        query = query.where(registrations.c.status == status.value)
    order = (registrations.c.created_at, registrations.c.id)
    rows = tx.execute(paging.apply_page(query, order, page)).all()
    page_rows, cursor = paging.split_page(rows, page, order)
    return [_registration(row) for row in page_rows], cursor

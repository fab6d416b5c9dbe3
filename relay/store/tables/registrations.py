"""Registrations: which endpoint waits for which job."""

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
"""Who hears of an event, and by which registration (None: a standing endpoint that hears of every job)."""

_OF_JOB = and_(registrations.c.workspace == bindparam("of"), registrations.c.job_id == bindparam("of_job"))
_IS_WAITING = and_(_OF_JOB, registrations.c.status == RegistrationStatus.ACTIVE.value)

_WAITING = select(registrations).where(_IS_WAITING)
_ADD = insert(registrations)
_SETTLE = update(registrations).where(_IS_WAITING).values(status=RegistrationStatus.SETTLED.value)
_IS_STANDING = registrations.c.status != RegistrationStatus.WITHDRAWN.value
_STANDING = select(registrations).where(_OF_JOB, registrations.c.endpoint_id == bindparam("endpoint"), _IS_STANDING)


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
    """As `add`, for many."""
    if new:
        tx.execute(_ADD, [_row(registration) for registration in new])


def get(tx: Tx, id: str) -> Registration | None:
    """The registration with this id: it stays as it is only while the watch of its job is locked."""
    row = tx.execute(select(registrations).where(registrations.c.id == id)).one_or_none()
    return _registration(row) if row else None


def find_active(tx: Tx, workspace: str, job_id: str, endpoint_id: str | None) -> Registration | None:
    """The registration of this job and endpoint that was not withdrawn."""
    row = tx.execute(_STANDING, {"of": workspace, "of_job": job_id, "endpoint": endpoint_id or ""}).one_or_none()
    return _registration(row) if row else None


def save(tx: Tx, registration: Registration) -> None:
    tx.execute(update(registrations).where(registrations.c.id == registration.id), _row(registration))


def mark_ended(tx: Tx, workspace: str, job_id: str) -> None:
    """The job ended: nobody waits for it any more."""
    tx.execute(_SETTLE, {"of": workspace, "of_job": job_id})


def subscribers_of_event(tx: Tx, workspace: str, job_id: str, type: EventType) -> list[Subscriber]:
    """Who is to hear of this event: each endpoint once, a registration's own event filter before the endpoint's.

    The caller holds the job's watch. The endpoints stay until the transaction ends.
    """
    waiting = [_registration(row) for row in tx.execute(_WAITING, {"of": workspace, "of_job": job_id})]
    there = endpoints.standing_and(tx, [item.endpoint_id for item in waiting if item.endpoint_id])
    heard: dict[str, Subscriber] = {}
    for item in waiting:
        if item.endpoint_id in there:
            heard[item.endpoint_id] = (there[item.endpoint_id], item)
    for endpoint in there.values():
        if endpoint.kind is EndpointKind.STANDING:
            heard.setdefault(endpoint.id, (endpoint, None))
    return [(endpoint, item) for endpoint, item in heard.values() if type in (item.events if item else endpoint.events)]


def of_job(tx: Tx, workspace: str, job_id: str, most: int) -> list[Registration]:
    """The latest registrations of a job, newest first, withdrawn ones included."""
    query = select(registrations).where(registrations.c.workspace == workspace, registrations.c.job_id == job_id)
    rows = tx.execute(query.order_by(registrations.c.created_at.desc(), registrations.c.id.desc()).limit(most))
    return [_registration(row) for row in rows]


def standing_at(tx: Tx, endpoint_id: str, most: int) -> dict[str, tuple[str, str]]:
    """Registrations of an endpoint that are not withdrawn, `most` at the most: by id, the job (workspace, job id)."""
    query = select(registrations.c.id, registrations.c.workspace, registrations.c.job_id).limit(most)
    query = query.where(registrations.c.endpoint_id == endpoint_id, _IS_STANDING)
    return {row.id: (row.workspace, row.job_id) for row in tx.execute(query)}


def withdraw(tx: Tx, ids: Collection[str]) -> None:
    """Withdraws registrations; the caller holds the watches of their jobs."""
    tx.execute(
        update(registrations).where(registrations.c.id.in_(ids), _IS_STANDING),
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
    kept, cursor = paging.split_page(rows, page, order)
    return [_registration(row) for row in kept], cursor

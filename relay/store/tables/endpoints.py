"""Endpoints: the subscribers, their secrets and their health."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Row, Text, bindparam, delete, or_, select, update

from relay.model import Endpoint, EndpointKind, EventType, Instant, Secret
from relay.security import FieldCipher
from relay.store.engine import dialect, encrypted_columns, many_rows, paging
from relay.store.engine.database import Tx, cipher_of
from relay.store.engine.schema import endpoints

_HEALTH = ("paused_until", "failing_since", "failures", "succeeded_at", "disabled_at", "disabled_reason")
_ENCRYPTED = ("url", "secrets", "headers")
_CACHE_SIZE = 1_000
_NAMES = (*Endpoint.__slots__, "fingerprint")
_COLUMNS = [endpoints.c[name] for name in _NAMES]

_BY_ID = select(*_COLUMNS).where(endpoints.c.id == bindparam("of"))
_QUIET_HOURS = (
    select(endpoints.c.id, endpoints.c.name, endpoints.c.quiet)
    .where(endpoints.c.quiet.is_not(None))
    .order_by(endpoints.c.id)
)
_MANY = select(*_COLUMNS).where(many_rows.is_among(endpoints.c.id, "ids"))
_LOCK_MANY = _MANY.order_by(endpoints.c.id).with_for_update(key_share=True)
_FOR_UPDATE = select(*_COLUMNS).order_by(endpoints.c.id).with_for_update()
_FOR_UPDATE_BY_ID = _FOR_UPDATE.where(endpoints.c.id == bindparam("of"))
_FOR_UPDATE_BY_NAME = _FOR_UPDATE.where(endpoints.c.name.in_(bindparam("names", expanding=True)))
_LOCK_BY_ID_OR_NAME = (
    select(*_COLUMNS)
    .where(or_(endpoints.c.id == bindparam("named", type_=Text), endpoints.c.name == bindparam("named", type_=Text)))
    .order_by(endpoints.c.id)
    .with_for_update(read=True, key_share=True)
)
_LOCK_BY_FINGERPRINT = select(*_COLUMNS).where(endpoints.c.fingerprint.in_(bindparam("fingerprints", expanding=True)))
_LOCK_BY_FINGERPRINT = _LOCK_BY_FINGERPRINT.order_by(endpoints.c.id).with_for_update(read=True, key_share=True)
_LOCK_STANDING_AND = (
    select(*_COLUMNS)
    .where(
        or_(
            endpoints.c.kind == EndpointKind.STANDING.value,
            many_rows.is_among(endpoints.c.id, "ids"),
        )
    )
    .order_by(endpoints.c.id)
    .with_for_update(read=True, key_share=True)
)
_STANDING = select(*_COLUMNS).where(endpoints.c.kind == EndpointKind.STANDING.value).order_by(endpoints.c.id)
_SAVE_HEALTH = update(endpoints).where(endpoints.c.id == bindparam("of"))
_ACQUIRE_SLOT = update(endpoints).where(
    endpoints.c.id == bindparam("of"),
    or_(endpoints.c.next_slot_at.is_(None), endpoints.c.next_slot_at <= bindparam("now", type_=BigInteger)),
)
"""Built once: every registration, every event and every batch of attempts needs them."""


def identity_text(
    url: str,
    format: str,
    headers: Mapping[str, str],
    secret: str | None,
    standing_for: Collection[EventType] | None = None,
) -> str:
    """The identity of an endpoint as text. Requests with the same URL, format, headers and secret mean the same one.

    For a standing endpoint without a name the events count too (`standing_for`).
    """
    parts: list[Any] = [url, format, sorted(headers.items()), secret]
    if standing_for is not None:
        parts.append(sorted(event.value for event in standing_for))
    return json.dumps(parts)


def fingerprints(
    tx: Tx,
    url: str,
    format: str,
    headers: Mapping[str, str],
    secret: str | None,
    standing_for: Collection[EventType] | None = None,
) -> tuple[str, ...]:
    """The fingerprints of an endpoint that is requested so: write the first, search for all of them.

    While the encryption key changes, relays may write under either key.
    """
    return encrypted_columns.fingerprints(tx, identity_text(url, format, headers, secret, standing_for))


def _row(tx: Tx, endpoint: Endpoint) -> dict[str, Any]:
    row = {name: getattr(endpoint, name) for name in endpoint.__slots__}
    row["kind"] = endpoint.kind.value
    row["events"] = json.dumps([event.value for event in endpoint.events])
    row["secrets"] = json.dumps([asdict(secret) for secret in endpoint.secrets])
    row["headers"] = json.dumps(dict(endpoint.headers))
    return row | {
        name: encrypted_columns.encrypt(tx, f"endpoints.{name}", endpoint.id, row[name]) for name in _ENCRYPTED
    }


def _endpoint(tx: Tx, row: Row[Any]) -> Endpoint:
    return _decrypted(cipher_of(tx), tuple(row))


@lru_cache(_CACHE_SIZE)
def _decrypted(cipher: FieldCipher, row: tuple[Any, ...]) -> Endpoint:
    """The endpoint of a row, decrypted once for many deliveries. The whole row is the cache key: it is never stale."""
    values = dict(zip(_NAMES, row, strict=True))
    del values["fingerprint"]
    for name in _ENCRYPTED:
        values[name] = encrypted_columns.decrypt_with(cipher, f"endpoints.{name}", values["id"], values[name])
    values["kind"] = EndpointKind(values["kind"])
    values["events"] = tuple(EventType(event) for event in json.loads(values["events"]))
    values["secrets"] = tuple(Secret(**secret) for secret in json.loads(values["secrets"]))
    values["headers"] = json.loads(values["headers"])
    return Endpoint(**values)


def add(tx: Tx, endpoint: Endpoint, fingerprint: str | None = None) -> bool:
    """Adds an endpoint; False if there is one with this fingerprint or name."""
    return bool(add_all(tx, {fingerprint or endpoint.id: endpoint}))


def add_all(tx: Tx, new: Mapping[str, Endpoint]) -> set[str]:
    """Adds endpoints by fingerprint, unless the fingerprint or name is taken. Returns the ids of those added."""
    rows = [_row(tx, endpoint) | {"fingerprint": fingerprint} for fingerprint, endpoint in sorted(new.items())]
    return {id for (id,) in dialect.insert_new(tx, endpoints, rows)}


def get(tx: Tx, id: str) -> Endpoint | None:
    """The endpoint with this id, not locked."""
    row = tx.execute(_BY_ID, {"of": id}).one_or_none()
    return _endpoint(tx, row) if row else None


def quiet_hours(tx: Tx) -> list[tuple[str, str | None, str]]:
    """Id, name and quiet hours of every endpoint that has them."""
    return [(id, name, window) for id, name, window in tx.execute(_QUIET_HOURS)]


def lock_by_id_or_name(tx: Tx, id_or_name: str) -> Endpoint | None:
    """The endpoint with this id, or else with this name, locked FOR KEY SHARE: it is not removed meanwhile."""
    matches = [_endpoint(tx, row) for row in tx.execute(_LOCK_BY_ID_OR_NAME, {"named": id_or_name})]
    return next((endpoint for endpoint in matches if endpoint.id == id_or_name), matches[0] if matches else None)


def by_name(tx: Tx, name: str) -> Endpoint | None:
    """The endpoint with this name, not locked."""
    row = tx.execute(select(*_COLUMNS).where(endpoints.c.name == name)).one_or_none()
    return _endpoint(tx, row) if row else None


def lock_by_fingerprint(tx: Tx, candidates: Sequence[str]) -> Endpoint | None:
    """The endpoint with one of these fingerprints, locked FOR KEY SHARE."""
    return next(iter(lock_by_fingerprints(tx, candidates).values()), None)


def lock_by_fingerprints(tx: Tx, candidates: Iterable[str]) -> dict[str, Endpoint]:
    """The endpoints with these fingerprints, by fingerprint, locked FOR KEY SHARE: none is removed meanwhile."""
    rows = tx.execute(_LOCK_BY_FINGERPRINT, {"fingerprints": list(candidates)})
    return {row.fingerprint: _endpoint(tx, row) for row in rows}


def get_many(tx: Tx, ids: Iterable[str]) -> dict[str, Endpoint]:
    """The endpoints with these ids, by id."""
    matches = (_endpoint(tx, row) for row in tx.execute(_MANY, {"ids": list(ids)}))
    return {endpoint.id: endpoint for endpoint in matches}


def lock_many(tx: Tx, ids: Iterable[str]) -> dict[str, Endpoint]:
    """The endpoints with these ids, locked FOR NO KEY UPDATE, so that a change starts from their current values.

    A change based on an earlier read could undo another relay's, such as disabling the endpoint.
    """
    matches = (_endpoint(tx, row) for row in tx.execute(_LOCK_MANY, {"ids": list(ids)}))
    return {endpoint.id: endpoint for endpoint in matches}


def get_for_update(tx: Tx, id: str) -> Endpoint | None:
    """The endpoint, locked FOR UPDATE, to change its fingerprint or to remove it.

    Until the transaction ends, no new registration or delivery can name it. The caller holds no watch and locks none
    afterwards.
    """
    row = tx.execute(_FOR_UPDATE_BY_ID, {"of": id}).one_or_none()
    return _endpoint(tx, row) if row else None


def get_for_update_by_name(tx: Tx, names: Iterable[str]) -> dict[str, Endpoint]:
    """As `get_for_update`, for all endpoints with these names, by name."""
    return {row.name: _endpoint(tx, row) for row in tx.execute(_FOR_UPDATE_BY_NAME, {"names": list(names)})}


def lock_disabled(tx: Tx, ids: Collection[str]) -> set[str]:
    """The ids of the disabled ones among these endpoints; they stay disabled until the transaction ends."""
    if not ids:
        return set()
    query = select(endpoints.c.id, endpoints.c.disabled_at).where(endpoints.c.id.in_(sorted(ids)))
    rows = tx.execute(query.order_by(endpoints.c.id).with_for_update(read=True))
    return {row.id for row in rows if row.disabled_at is not None}


def all_standing(tx: Tx) -> Sequence[Endpoint]:
    """The standing endpoints, which get the events of every job."""
    return [_endpoint(tx, row) for row in tx.execute(_STANDING)]


def with_fallback(tx: Tx, fallback: Endpoint) -> Sequence[str]:
    """The names of endpoints that have this endpoint as their fallback; the id of one without a name."""
    named = endpoints.c.fallback.in_([fallback.id, fallback.name or fallback.id])
    rows = tx.execute(select(endpoints.c.name, endpoints.c.id).where(named, endpoints.c.id != fallback.id))
    return sorted(row.name or row.id for row in rows)


def rename_fallback(tx: Tx, old: str, new: str) -> None:
    """Endpoints that have the endpoint as their fallback name it by its new name."""
    tx.execute(update(endpoints).where(endpoints.c.fallback == old).values(fallback=new))


def standing_names(tx: Tx, limit: int) -> Sequence[str]:
    """The names of standing endpoints, in order, `limit` at most."""
    is_named = (endpoints.c.kind == EndpointKind.STANDING.value, endpoints.c.name.is_not(None))
    query = select(endpoints.c.name).where(*is_named).order_by(endpoints.c.name).limit(limit)
    return [str(name) for name in tx.execute(query).scalars()]


def record_test(tx: Tx, id: str, now: Instant) -> None:
    """Records when the first test event was delivered to the endpoint; of one that is not saved nothing is."""
    tx.execute(update(endpoints).where(endpoints.c.id == id, endpoints.c.tested_at.is_(None)), {"tested_at": now})


def any_tested(tx: Tx) -> bool:
    """Whether a test event was delivered to an endpoint. Reads all endpoints if there is none."""
    return tx.execute(select(endpoints.c.id).where(endpoints.c.tested_at.is_not(None)).limit(1)).first() is not None


def any_standing(tx: Tx) -> bool:
    """Whether there is a standing endpoint that is not disabled and gets events of jobs."""
    query = select(endpoints.c.id).where(
        endpoints.c.kind == EndpointKind.STANDING.value, endpoints.c.disabled_at.is_(None), endpoints.c.events != "[]"
    )
    return tx.execute(query.limit(1)).first() is not None


def lock_standing_and(tx: Tx, ids: Collection[str]) -> dict[str, Endpoint]:
    """The standing endpoints and those with these ids, by id, locked FOR KEY SHARE: none is removed meanwhile."""
    matches = (_endpoint(tx, row) for row in tx.execute(_LOCK_STANDING_AND, {"ids": list(ids)}))
    return {endpoint.id: endpoint for endpoint in matches}


def without_fingerprint(tx: Tx) -> list[Endpoint]:
    """Standing endpoints without a name whose fingerprint no request matches, because they were rotated or changed."""
    fingerprint = endpoints.c.fingerprint
    is_unidentified = (fingerprint == endpoints.c.id) | fingerprint.startswith("standing:")
    query = _STANDING.where(endpoints.c.name.is_(None), is_unidentified)
    return [_endpoint(tx, row) for row in tx.execute(query)]


def save(tx: Tx, endpoint: Endpoint, fingerprint: str | None = None) -> None:
    """Writes all values of the endpoint, and a new `fingerprint` if there is one; the caller holds the endpoint."""
    row = _row(tx, endpoint) | ({"fingerprint": fingerprint} if fingerprint else {})
    tx.execute(update(endpoints).where(endpoints.c.id == endpoint.id), row)


def remove(tx: Tx, id: str) -> None:
    """Deletes the endpoint; the caller holds it (`get_for_update`)."""
    tx.execute(delete(endpoints).where(endpoints.c.id == id))


def page(
    tx: Tx, page: paging.Page, kind: EndpointKind | None = None, name: str | None = None
) -> tuple[list[Endpoint], str | None]:
    """One page of endpoints, newest first, and the cursor of the next; `name`: only the one with this name."""
    query = select(*_COLUMNS)
    if name is not None:
        query = query.where(endpoints.c.name == name)
    if kind is not None:
        query = query.where(endpoints.c.kind == kind.value)
    order = (endpoints.c.created_at, endpoints.c.id)
    rows = tx.execute(paging.apply_page(query, order, page)).all()
    page_rows, cursor = paging.split_page(rows, page, order)
    return [_endpoint(tx, row) for row in page_rows], cursor


def save_health(tx: Tx, endpoint: Endpoint) -> None:
    """Writes only the columns that attempts change, so that a concurrent change by a person stays."""
    health = {name: getattr(endpoint, name) for name in _HEALTH}
    tx.execute(_SAVE_HEALTH, health | {"of": endpoint.id})


def pause_host(tx: Tx, host: str, until: Instant) -> None:
    """Pauses all endpoints at this host until then, except those that another transaction holds: it pauses them."""
    statement = select(endpoints.c.id).where(endpoints.c.host == host).order_by(endpoints.c.id)
    statement = statement.with_for_update(skip_locked=True, key_share=True)
    pauses_shorter = or_(endpoints.c.paused_until.is_(None), endpoints.c.paused_until < until)
    tx.execute(update(endpoints).where(endpoints.c.id.in_(statement), pauses_shorter), {"paused_until": until})


def acquire_slots(tx: Tx, until: Mapping[str, Instant], now: Instant) -> set[str]:
    """Acquires endpoints, by id, each until an instant before which no other relay starts an attempt there. Returns the
    ids acquired."""
    return {
        id
        for id, at in sorted(until.items())  # in one order, so that two relays cause no deadlock
        if tx.execute(_ACQUIRE_SLOT, {"of": id, "now": now, "next_slot_at": at}).rowcount
    }


def release_slots(tx: Tx, ids: Collection[str]) -> None:
    """Lets other relays start attempts at these endpoints."""
    if ids:
        tx.execute(update(endpoints).where(endpoints.c.id.in_(sorted(ids))), {"next_slot_at": None})

"""Endpoints: the subscribers, their secrets and their health."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Row, Text, bindparam, delete, or_, select, update

from relay.model import Endpoint, EndpointKind, EventType, Instant, Secret
from relay.security.encryption import FieldCipher
from relay.store.engine import dialect, encrypted_columns, paging
from relay.store.engine.database import Tx, cipher_of
from relay.store.engine.schema import endpoints

_HEALTH = ("paused_until", "failing_since", "failures", "succeeded_at", "disabled_at", "disabled_reason")
_ENCRYPTED = ("url", "secrets", "headers")
_KEPT = 1_000
_NAMES = (*Endpoint.__slots__, "fingerprint")
_COLUMNS = [endpoints.c[name] for name in _NAMES]

_MANY = select(*_COLUMNS).where(endpoints.c.id.in_(bindparam("ids", expanding=True)))
_LOCKED = _MANY.order_by(endpoints.c.id).with_for_update(key_share=True)
_HELD = select(*_COLUMNS).order_by(endpoints.c.id).with_for_update()
_HELD_ONE = _HELD.where(endpoints.c.id == bindparam("of"))
_HELD_BY_NAME = _HELD.where(endpoints.c.name.in_(bindparam("names", expanding=True)))
_KEPT_HERE = (
    select(*_COLUMNS)
    .where(or_(endpoints.c.id == bindparam("named", type_=Text), endpoints.c.name == bindparam("named", type_=Text)))
    .order_by(endpoints.c.id)
    .with_for_update(read=True, key_share=True)
)
_KNOWN_BY = select(*_COLUMNS).where(endpoints.c.fingerprint.in_(bindparam("marks", expanding=True)))
_KNOWN_BY = _KNOWN_BY.order_by(endpoints.c.id).with_for_update(read=True, key_share=True)
_TOLD = (
    select(*_COLUMNS)
    .where(
        or_(
            endpoints.c.kind == EndpointKind.STANDING.value,
            endpoints.c.id.in_(bindparam("ids", expanding=True)),
        )
    )
    .order_by(endpoints.c.id)
    .with_for_update(read=True, key_share=True)
)
_STANDING = select(*_COLUMNS).where(endpoints.c.kind == EndpointKind.STANDING.value).order_by(endpoints.c.id)
_TAKE_TURN = update(endpoints).where(
    endpoints.c.id == bindparam("of"),
    or_(endpoints.c.next_slot_at.is_(None), endpoints.c.next_slot_at <= bindparam("now", type_=BigInteger)),
)
"""Made once: every registration, every event and every batch of attempts needs them."""


def identity_text(
    url: str,
    format: str,
    headers: Mapping[str, str],
    secret: str | None,
    standing_for: Collection[EventType] | None = None,
) -> str:
    """What makes two requests mean the same endpoint: URL, format, headers and the secret they brought, as text.

    For a standing endpoint without a name the events too (`standing_for`).
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
    """What an endpoint that is asked for so is known by: the first is written, all are looked for.

    While the key changes, relays may write under either.
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


@lru_cache(_KEPT)
def _decrypted(cipher: FieldCipher, row: tuple[Any, ...]) -> Endpoint:
    """The endpoint of a row, opened once for many deliveries: another row is another endpoint, so none gets stale."""
    values = dict(zip(_NAMES, row, strict=True))
    del values["fingerprint"]
    for name in _ENCRYPTED:
        values[name] = encrypted_columns.decrypt_with(cipher, f"endpoints.{name}", values["id"], values[name])
    values["kind"] = EndpointKind(values["kind"])
    values["events"] = tuple(EventType(event) for event in json.loads(values["events"]))
    values["secrets"] = tuple(Secret(**secret) for secret in json.loads(values["secrets"]))
    values["headers"] = json.loads(values["headers"])
    return Endpoint(**values)


def add(tx: Tx, endpoint: Endpoint, mark: str | None = None) -> bool:
    """Adds an endpoint; False where one with the same fingerprint `mark` (ad hoc) or name (standing) is there."""
    return bool(add_all(tx, {mark or endpoint.id: endpoint}))


def add_all(tx: Tx, new: Mapping[str, Endpoint]) -> set[str]:
    """Adds endpoints under their fingerprints, but for those whose fingerprint or name is there. Returns the ids of
    those added."""
    rows = [_row(tx, endpoint) | {"fingerprint": mark} for mark, endpoint in sorted(new.items())]
    return {id for (id,) in dialect.insert_new(tx, endpoints, rows)}


def get(tx: Tx, id: str) -> Endpoint | None:
    row = tx.execute(select(*_COLUMNS).where(endpoints.c.id == id)).one_or_none()
    return _endpoint(tx, row) if row else None


def named(tx: Tx, id_or_name: str) -> Endpoint | None:
    """The endpoint with this id or, where there is none, this name; it stays until the transaction ends."""
    found = [_endpoint(tx, row) for row in tx.execute(_KEPT_HERE, {"named": id_or_name})]
    return next((one for one in found if one.id == id_or_name), found[0] if found else None)


def by_name(tx: Tx, name: str) -> Endpoint | None:
    row = tx.execute(select(*_COLUMNS).where(endpoints.c.name == name)).one_or_none()
    return _endpoint(tx, row) if row else None


def by_fingerprint(tx: Tx, marks: Sequence[str]) -> Endpoint | None:
    """The endpoint that is known by one of these fingerprints; it stays until the transaction ends."""
    return next(iter(by_fingerprints(tx, marks).values()), None)


def by_fingerprints(tx: Tx, marks: Iterable[str]) -> dict[str, Endpoint]:
    """The endpoints that are known by these fingerprints, by fingerprint; they stay until the transaction ends."""
    return {row.fingerprint: _endpoint(tx, row) for row in tx.execute(_KNOWN_BY, {"marks": list(marks)})}


def get_many(tx: Tx, ids: Iterable[str]) -> dict[str, Endpoint]:
    """The endpoints with these ids, by id."""
    found = (_endpoint(tx, row) for row in tx.execute(_MANY, {"ids": list(ids)}))
    return {endpoint.id: endpoint for endpoint in found}


def lock_many(tx: Tx, ids: Iterable[str]) -> dict[str, Endpoint]:
    """The endpoints with these ids as they are now, for changing them: nobody else does until the transaction ends.

    A change that is made of what was read before could undo another relay's, which may have disabled it meanwhile.
    """
    found = (_endpoint(tx, row) for row in tx.execute(_LOCKED, {"ids": list(ids)}))
    return {endpoint.id: endpoint for endpoint in found}


def held(tx: Tx, id: str) -> Endpoint | None:
    """The endpoint as it is now, locked for a change of what it is known by, or for its removal.

    Until the transaction ends no registration and no delivery comes to name it. Hold no watch, and lock none after it.
    """
    row = tx.execute(_HELD_ONE, {"of": id}).one_or_none()
    return _endpoint(tx, row) if row else None


def held_by_name(tx: Tx, names: Iterable[str]) -> dict[str, Endpoint]:
    """As `held`, for all endpoints with these names, by name."""
    return {row.name: _endpoint(tx, row) for row in tx.execute(_HELD_BY_NAME, {"names": list(names)})}


def disabled_among(tx: Tx, ids: Collection[str]) -> set[str]:
    """Which of these are disabled, and stay so until the transaction ends."""
    if not ids:
        return set()
    query = select(endpoints.c.id, endpoints.c.disabled_at).where(endpoints.c.id.in_(sorted(ids)))
    rows = tx.execute(query.order_by(endpoints.c.id).with_for_update(read=True))
    return {row.id for row in rows if row.disabled_at is not None}


def all_standing(tx: Tx) -> Sequence[Endpoint]:
    """The endpoints that hear of every job."""
    return [_endpoint(tx, row) for row in tx.execute(_STANDING)]


def any_standing(tx: Tx) -> bool:
    """If there is a standing endpoint that is not disabled."""
    query = select(endpoints.c.id).where(
        endpoints.c.kind == EndpointKind.STANDING.value, endpoints.c.disabled_at.is_(None)
    )
    return tx.execute(query.limit(1)).first() is not None


def standing_and(tx: Tx, ids: Collection[str]) -> dict[str, Endpoint]:
    """The standing endpoints and those with these ids, by id; they stay until the transaction ends."""
    found = (_endpoint(tx, row) for row in tx.execute(_TOLD, {"ids": list(ids)}))
    return {endpoint.id: endpoint for endpoint in found}


def without_fingerprint(tx: Tx) -> list[Endpoint]:
    """Standing endpoints that neither name nor fingerprint tells: rotated, changed, or of an early version's store."""
    mark = endpoints.c.fingerprint
    query = _STANDING.where(endpoints.c.name.is_(None), (mark == endpoints.c.id) | mark.startswith("standing:"))
    return [_endpoint(tx, row) for row in tx.execute(query)]


def save(tx: Tx, endpoint: Endpoint, mark: str | None = None) -> None:
    """Writes the endpoint as it is now, with another fingerprint where `mark` is given."""
    row = _row(tx, endpoint) | ({"fingerprint": mark} if mark else {})
    tx.execute(update(endpoints).where(endpoints.c.id == endpoint.id), row)


def remove(tx: Tx, id: str) -> None:
    tx.execute(delete(endpoints).where(endpoints.c.id == id))


def page(tx: Tx, page: paging.Page, kind: EndpointKind | None = None) -> tuple[list[Endpoint], str | None]:
    """One page of endpoints, newest first, and the cursor of the next."""
    query = select(*_COLUMNS)
    if kind is not None:
        query = query.where(endpoints.c.kind == kind.value)
    order = (endpoints.c.created_at, endpoints.c.id)
    rows = tx.execute(paging.apply_page(query, order, page)).all()
    kept, cursor = paging.split_page(rows, page, order)
    return [_endpoint(tx, row) for row in kept], cursor


def save_health(tx: Tx, endpoint: Endpoint) -> None:
    """Writes only what attempts change, so that a change made by hand meanwhile stays."""
    health = {name: getattr(endpoint, name) for name in _HEALTH}
    tx.execute(update(endpoints).where(endpoints.c.id == endpoint.id), health)


def acquire_slots(tx: Tx, until: Mapping[str, Instant], now: Instant) -> set[str]:
    """At which endpoints, by id, it is this relay's turn: until then no other relay begins an attempt there."""
    return {
        id
        for id, at in sorted(until.items())  # in one order, or two relays would wait for each other
        if tx.execute(_TAKE_TURN, {"of": id, "now": now, "next_slot_at": at}).rowcount
    }


def release_slots(tx: Tx, ids: Collection[str]) -> None:
    """Others may begin."""
    if ids:
        tx.execute(update(endpoints).where(endpoints.c.id.in_(sorted(ids))), {"next_slot_at": None})

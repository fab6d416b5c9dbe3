"""Bulk resend: all deliveries that match a filter, in batches, so that other transactions run in between."""

from collections.abc import Callable

from relay import formats
from relay.model import Actor, AuditAction, to_rfc3339
from relay.store import Store, Tx
from relay.store.engine.paging import WalkPosition
from relay.store.tables import audit, deliveries
from relay.store.tables.filters import DeliveryFilter

BATCH = 500
"""Deliveries that one transaction makes due again. One transaction for all would block every other for too long."""


async def count_matching(
    store: Store, filter: DeliveryFilter, *, sendable: bool = False, limit: int | None = None
) -> int:
    """How many deliveries match, counted until `limit` is reached; `sendable` counts what `resend_matching` would send.

    It reads the store in steps, so that no read is long. Raises StoreError.
    """
    number, position = 0, None

    def work(tx: Tx) -> tuple[int, WalkPosition | None]:
        return deliveries.count_some(tx, filter, sendable, position)

    while limit is None or number < limit:
        counted, position = await store.read(work)
        number += counted
        if position is None:
            break
    return number if limit is None else min(number, limit)


async def resend_matching(
    store: Store, filter: DeliveryFilter, limit: int, wake: Callable[[], None], actor: Actor
) -> int:
    """Makes at most `limit` deliveries due again, oldest first. Returns how many. Calls `wake` after each batch.

    The audit log has one entry for all, with the filter and the limit. Deliveries of disabled endpoints stay as they
    are. Raises StoreError; batches that are committed stay.
    """
    count, cursor = 0, None

    def work(tx: Tx) -> tuple[int, WalkPosition | None]:
        now = store.clock()  # for each batch: the clock may be set in between
        if count == 0:
            audit.add(
                tx, actor, AuditAction.DELIVERIES_RESENT, now, filter.endpoint_id, None, **_described(filter, limit)
            )
        size = min(BATCH, limit - count)
        return deliveries.resend_batch(tx, filter, now, size, formats.min_interval, cursor, actor.name)

    while count < limit:
        resent, cursor = await store.write(work, at_end=True)
        count += resent
        wake()
        if cursor is None:
            break
    return count


def _described(filter: DeliveryFilter, limit: int) -> dict[str, object]:
    """The filter for the audit log; of metadata the key, as the value may be a secret."""
    fields: dict[str, object] = {"at_most": limit}
    for name in ("status", "job_id", "event_type", "workspace", "http_status"):
        if (value := getattr(filter, name)) is not None:
            fields[name] = str(value)
    if filter.metadata is not None:
        fields["metadata_key"] = filter.metadata.key
    if filter.ids is not None:
        fields["named"] = len(filter.ids)
    times = {"since": filter.since, "until": filter.until}
    return fields | {name: to_rfc3339(at) for name, at in times.items() if at is not None}

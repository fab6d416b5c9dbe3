"""Bulk resend: all deliveries that match a filter, in batches, so that other transactions run in between."""

from collections.abc import Callable

from relay import formats
from relay.model import Actor, AuditAction, Instant, to_rfc3339
from relay.store import Store, Tx
from relay.store.engine.paging import WalkPosition
from relay.store.tables import audit, deliveries
from relay.store.tables.deliveries import DeliveryFilter

BATCH = 500
"""Deliveries that one transaction makes due again. One transaction for all would block every other for too long."""


async def resend_matching(
    store: Store, filter: DeliveryFilter, limit: int, now: Instant, wake: Callable[[], None], actor: Actor
) -> int:
    """Makes at most `limit` deliveries due again, oldest first. Returns how many. Calls `wake` after each batch.

    The audit log has one entry for all, with the filter and the limit. Deliveries of disabled endpoints stay as they
    are. Raises StoreError; batches that are committed stay.
    """
    count, cursor = 0, None

    def work(tx: Tx) -> tuple[int, WalkPosition | None]:
        if count == 0:
            audit.add(
                tx, actor, AuditAction.DELIVERIES_RESENT, now, filter.endpoint_id, None, **_described(filter, limit)
            )
        return deliveries.resend_batch(tx, filter, now, min(BATCH, limit - count), formats.min_interval, cursor)

    while count < limit:
        resent, cursor = await store.write(work, at_end=True)
        count += resent
        wake()
        if cursor is None:
            break
    return count


def _described(filter: DeliveryFilter, limit: int) -> dict[str, object]:
    """The filter for the audit log."""
    fields: dict[str, object] = {"at_most": limit}
    if filter.status is not None:
        fields["status"] = filter.status.value
    if filter.job_id is not None:
        fields["job_id"] = filter.job_id
    times = {"since": filter.since, "until": filter.until}
    return fields | {name: to_rfc3339(at) for name, at in times.items() if at is not None}

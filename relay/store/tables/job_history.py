"""One job with everything that belongs to it: registrations, deliveries, their endpoints, polls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relay.errors import NotFound
from relay.model import Delivery, Endpoint, Registration, Watch
from relay.store.engine.database import Tx
from relay.store.tables import deliveries, endpoints, polls, registrations, watches

MAX_ROWS = 200
"""Maximum number of registrations, deliveries and polls of one job; the lists of the API have all of them."""


@dataclass(frozen=True, slots=True)
class JobHistory:
    """One job as the store has it, the newest registrations, deliveries and polls first."""

    watch: Watch
    registrations: Sequence[Registration]
    deliveries: Sequence[Delivery]
    endpoints: Mapping[str, Endpoint]
    """The endpoints of registrations and deliveries, by id; removed ones are missing."""
    polls: Sequence[Mapping[str, Any]]


def load_job_history(tx: Tx, job_id: str, workspace: str | None) -> JobHistory:
    """Reads one job, of any workspace unless one is given. Raises NotFound for a job without a watch."""
    watch = find_watch(tx, job_id, workspace)
    registered = registrations.of_job(tx, watch.workspace, job_id, MAX_ROWS)
    rows = deliveries.of_job(tx, watch.workspace, job_id, MAX_ROWS)
    ids = {row.endpoint_id for row in registered if row.endpoint_id} | {row.endpoint_id for row in rows}
    history = polls.of_watch(tx, watch, MAX_ROWS)
    return JobHistory(watch, registered, rows, endpoints.get_many(tx, ids), history)


def find_watch(tx: Tx, job_id: str, workspace: str | None) -> Watch:
    """The watch of one job, of any workspace unless one is given. Raises NotFound for a job without a watch."""
    if (watch := watches.find(tx, job_id, workspace)) is None:
        text = "the relay does not know this job; register it, unless it was deleted after storage.retention"
        raise NotFound("job_not_found", text)
    return watch

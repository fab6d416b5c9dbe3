"""Creating jobs: what is written down before and after Exec is asked to make one.

What can be promised. Exec makes a job once for each request_id, and the relay never asks without one. Between Exec's
answer and the relay's commit the process may die; then Exec has a job that the relay does not know. Whoever repeats the
call with the same request_id gets that very job, registered, and nothing is made twice: the relay keeps what Exec
answered for a day, and beyond that, or where it was not kept, Exec knows the request_id. Where nobody repeats it, the
job is not lost either if Exec calls the relay back: it is then registered for the standing endpoints.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from relay.errors import Conflict
from relay.model import DAY, Instant, ScenarioJob, Watch, new_id
from relay.polling.request_budget import RateLimit, allowed_now, next_allowed_at, spend
from relay.polling.schedule.next_poll import NextPoll
from relay.store.engine.database import Tx
from relay.store.tables import idempotency, watches, workspaces
from relay.store.tables.idempotency import StoredResponse

CALLBACK_TRUSTED_FOR = 7 * DAY
"""Exec's callback is relied on where one came within this time; until then the job is polled as any other."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """Exec may be asked; or need not be, where `job` was made by an earlier call."""

    job: ScenarioJob | None


@dataclass(frozen=True, slots=True)
class Throttled:
    """The workspace's requests are used up, or it waits, until then."""

    until: Instant


def new_request_id(now: Instant, random_bytes: bytes) -> str:
    return new_id("req", now, random_bytes)


def request_id_of(caller: str, key: str) -> str:
    """The request_id that an `Idempotency-Key` stands for."""
    return "idem_" + idempotency.fingerprint([caller, key])[:40]


def reserve_request(
    tx: Tx,
    workspace: str,
    allowance: RateLimit,
    request_id: str,
    fields: Mapping[str, Any],
    clock: Callable[[], Instant],
) -> Reserved | Throttled:
    """Spends one of the workspace's requests, before Exec is asked: a crash can waste it, never overdraw the budget.

    Locks the workspace, and reads the clock after that: what others spent while this one waited was spent before.
    Raises Conflict where the request_id was used for another job.
    """
    state, now = workspaces.lock(tx, workspace), clock()
    kept = idempotency.get(tx, _key(workspace, request_id))
    if kept is not None and kept.created_at > now - idempotency.TTL:
        if kept.request_hash != idempotency.fingerprint(fields):
            text = "this request_id was used for another job; take a new one for a new job"
            raise Conflict("request_id_reused", text, "request_id")
        return Reserved(ScenarioJob.model_validate_json(kept.answer))
    ledger = state.ledger
    paused = state.paused_until is not None and state.paused_until > now
    if paused or allowed_now(ledger, allowance, now, 1) < 1:
        return Throttled(max(next_allowed_at(ledger, allowance, now), state.paused_until or 0))
    workspaces.save(tx, replace(state, ledger=spend(ledger, 1, now)))
    return Reserved(None)


def store_response(
    tx: Tx, workspace: str, request_id: str, fields: Mapping[str, Any], job: ScenarioJob, now: Instant
) -> None:
    """Keeps Exec's answer for those who repeat the call; in the transaction that registers the job."""
    answer = json.dumps(job.raw(), ensure_ascii=False)
    key, asked = _key(workspace, request_id), idempotency.fingerprint(fields)
    idempotency.store(tx, StoredResponse(key=key, request_hash=asked, status=201, answer=answer, created_at=now))


def seed_first_poll(
    tx: Tx, workspace: str, job: ScenarioJob, plan: Callable[[Watch, Instant], NextPoll], now: Instant
) -> None:
    """Exec's answer shows a new job as a poll would: its first poll need not be made at once."""
    watch = watches.get_for_update(tx, workspace, job.id)
    if (
        watch is None
        or watch.polls
        or watch.callback_received_at is not None
        or watch.job is not None
        or job.final_event is not None
    ):
        return
    seen = replace(watch, job=job, last_poll_at=now)
    next = plan(seen, now)
    watches.save(tx, replace(seen, next_poll_at=next.at, next_poll_reason=next.reason))


def _key(workspace: str, request_id: str) -> str:
    return idempotency.fingerprint(["create job", workspace, request_id])

"""Polls: the history of each watch."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import insert, select

from relay.model import Watch
from relay.model.poll_result import Poll, detail_of, outcome_label
from relay.store.engine.database import Tx
from relay.store.engine.schema import polls

_ADD = insert(polls)


def add(tx: Tx, watch: Watch, poll: Poll) -> None:
    """Adds a poll to the watch's history."""
    add_all(tx, [(watch, poll)])


def add_all(tx: Tx, watches_and_polls: Iterable[tuple[Watch, Poll]]) -> None:
    """As `add`, for several watches."""
    rows = [
        {
            "workspace": watch.workspace,
            "job_id": watch.job_id,
            "at": poll.started_at,
            "duration_ms": poll.duration_ms,
            "outcome": outcome_label(poll.result),
            "detail": detail_of(poll.result),
        }
        for watch, poll in watches_and_polls
    ]
    if rows:
        tx.execute(_ADD, rows)


def of_watch(tx: Tx, watch: Watch, limit: int) -> list[dict[str, Any]]:
    """The last polls of a watch, oldest first: `at`, `duration_ms`, `outcome`, `detail`."""
    query = (
        select(polls.c.at, polls.c.duration_ms, polls.c.outcome, polls.c.detail)
        .where(polls.c.workspace == watch.workspace, polls.c.job_id == watch.job_id)
        .order_by(polls.c.id.desc())
        .limit(limit)
    )
    return [dict(row._mapping) for row in tx.execute(query)][::-1]

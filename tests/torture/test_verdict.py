"""The verdict counts each forbidden thing when it happens."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook

from relay.model import EventType, event_id
from relay.sandbox.job_simulation import Job, Outcome
from relay.sandbox.receiver import Received
from relay.sandbox.request_log import LoggedRequest
from tests.make import NOON, SECRET
from tests.torture.verdict import IN_FLIGHT, Accepted, Disturbance, Evidence, Verdict, judge

COUNTS = ("lost", "changed", "untrue", "duplicates", "missing", "overdrafts")


def received(
    job: str, path: str, at: int, answered: int = 204, id: str | None = None, type: str = "job.completed"
) -> Received:
    """What a correct relay sends for a completed job, signed."""
    id = id or event_id("default", job, EventType(type))
    body = json.dumps({"type": type, "data": {"job": {"id": job}}}).encode()
    stamp = datetime.fromtimestamp(at // 1_000, UTC)
    headers = {
        "webhook-id": id,
        "webhook-timestamp": str(at // 1_000),
        "webhook-signature": Webhook(SECRET).sign(id, stamp, body.decode()),
    }
    return Received(at, path, id, type, verified=True, error="", answered=answered, headers=headers, body=body)


def asked(at: int, status: int = 200, fault: str | None = None) -> LoggedRequest:
    return LoggedRequest(at, "key", "poll", "j1", status, None, fault)


def job(id: str) -> Job:
    return Job(
        id=id,
        key="key",
        created_at=NOON,
        started_at=NOON,
        ended_at=NOON + 1,
        outcome=Outcome.COMPLETED,
        scenario={},
        error={},
    )


FIRST, SECOND, THIRD = (
    received("j1", "/a", NOON),
    received("j1", "/standing", NOON),
    received("j2", "/standing", NOON),
)
FINE = Evidence(
    accepted=(Accepted(id="r1", job_id="j1", path="/a"), Accepted(id="r2", job_id="j2", path=None)),
    standing=("/standing",),
    received=(FIRST, SECOND, THIRD),
    secret=SECRET,
    jobs={"j1": job("j1"), "j2": job("j2")},
    asked=(asked(NOON), asked(NOON + 60_000), asked(NOON + 61_000)),
    shown={"r1", "r2"},
)


def counted(verdict: Verdict) -> dict[str, int]:
    """The counts that are not 0."""
    return {name: len(getattr(verdict, name)) for name in COUNTS if getattr(verdict, name)}


def test_a_clean_run_counts_zero() -> None:
    """A correct relay: three events, nothing else."""
    verdict = judge(FINE)
    assert (counted(verdict), verdict.holds, verdict.expected) == ({}, True, 3)
    assert (verdict.busiest_minute, verdict.busiest_day) == (2, 3)


def test_a_run_without_events_does_not_pass() -> None:
    """A load that registered nothing proves nothing."""
    assert not judge(replace(FINE, accepted=(), received=())).holds


def and_also(*more: Received) -> Evidence:
    return replace(FINE, received=(*FINE.received, *more))


LATER = NOON + 10_000
BORROWED = received("j2", "/standing", NOON, id=FIRST.webhook_id)
REFUSED = replace(FIRST, answered=503)
AGAIN = replace(FIRST, at=LATER)
HURT = (Disturbance(NOON + 100, NOON + 400),)


@pytest.mark.parametrize(
    ("evidence", "found"),
    [
        (replace(FINE, received=(SECOND, THIRD)), {"lost": 1}),
        (replace(FINE, received=()), {"lost": 3}),
        (replace(FINE, shown={"r1"}), {"missing": 1}),
        (replace(FINE, asked=(*FINE.asked, asked(LATER, 429))), {"overdrafts": 1}),
        (replace(FINE, asked=(*FINE.asked, asked(LATER, 429, "429"))), {}),
        (and_also(received("j1", "/a", LATER, id="evt_other")), {"changed": 1}),
        (replace(FINE, received=(received("j1", "/a", NOON, id="evt_other"), SECOND, THIRD)), {"changed": 1}),
        (and_also(replace(FIRST, body=FIRST.body + b" ", at=LATER)), {"changed": 2, "duplicates": 1}),
        (replace(FINE, received=(replace(FIRST, body=FIRST.body + b" "), SECOND, THIRD)), {"changed": 1}),
        (replace(FINE, received=(replace(FIRST, body=b"hello"), SECOND, THIRD)), {"changed": 2, "lost": 1}),
        (replace(FINE, received=(replace(FIRST, headers={}), SECOND, THIRD)), {"changed": 1}),
        (replace(FINE, received=(FIRST, SECOND, BORROWED)), {"changed": 1, "duplicates": 1}),
        (and_also(received("j1", "/a", LATER, type="job.failed")), {"untrue": 1, "changed": 1}),
        (and_also(received("j3", "/standing", LATER)), {"untrue": 1}),
        (and_also(AGAIN), {"duplicates": 1}),
        (replace(and_also(AGAIN), disturbances=HURT), {}),
        (replace(and_also(AGAIN, replace(AGAIN, at=LATER + 1)), disturbances=HURT), {"duplicates": 1}),
        (replace(FINE, received=(REFUSED, AGAIN, SECOND, THIRD)), {}),
    ],
    ids=lambda found: "+".join(found) or "nothing" if isinstance(found, dict) else "",
)
def test_each_violation_is_counted(evidence: Evidence, found: dict[str, int]) -> None:
    """Each violation counts by itself, and nothing else does."""
    verdict = judge(evidence)
    assert counted(verdict) == found
    assert verdict.holds == (not found)
    assert ("BROKEN" in verdict.text("title")) == bool(found)


@pytest.mark.parametrize(
    ("begins", "excused"),
    [(0, True), (IN_FLIGHT, True), (IN_FLIGHT + 1, False), (-500, True), (-501, False)],
)
def test_only_attempts_in_flight_may_repeat(begins: int, excused: bool) -> None:
    """An attempt that arrived too long before the damage, or after it, was not in flight."""
    hurt = Disturbance(NOON + begins, NOON + begins + 500)
    verdict = judge(replace(and_also(AGAIN), disturbances=(hurt,)))
    assert (verdict.repeats, len(verdict.duplicates)) == ((1, 0) if excused else (0, 1))
    assert verdict.oldest_repeat == (max(begins, 0) if excused else 0)

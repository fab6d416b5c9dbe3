"""What polls say about Exec as a whole."""

import pytest

from relay.model import ScenarioJob
from relay.model.poll_result import JobFound, JobNotFound, PollFailed, RateLimited, Unauthorized
from relay.polling.exec_condition import FAILURES_REPORTED, ExecHealth, is_unknown_status, rate_limit_condition
from relay.telemetry.state_changes import WORKING, State

FOUND = JobFound(ScenarioJob(id="j1", status="processing"))


def test_one_refused_key_is_reported() -> None:
    """The reason contains Exec's message."""
    condition = ExecHealth().after_poll(Unauthorized(401, "Invalid API key"))
    assert condition is not None
    assert (condition.state, condition.reason) == (State.KEY_REFUSED, "401, Invalid API key")


@pytest.mark.parametrize(
    ("kind", "is_foreign", "state"),
    [
        ("timeout", False, State.UNREACHABLE),
        ("connection", False, State.UNREACHABLE),
        ("status", False, State.ANSWERS_ERRORS),
        ("status", True, State.NOT_EXEC),
        ("malformed", False, State.NOT_EXEC),
    ],
)
def test_three_failed_polls_in_a_row_are_reported(kind: str, is_foreign: bool, state: State) -> None:
    """One or two failures are noise; a found job begins the count again."""
    health = ExecHealth()
    failed = PollFailed(kind, "the detail", is_foreign)
    assert [health.after_poll(failed) for _ in range(FAILURES_REPORTED - 1)] == [None] * (FAILURES_REPORTED - 1)
    assert health.after_poll(FOUND) == WORKING
    conditions = [health.after_poll(failed) for _ in range(FAILURES_REPORTED)]
    last = conditions[-1]
    assert conditions[:-1] == [None] * (FAILURES_REPORTED - 1)
    assert last is not None
    assert last.state is state
    assert "the detail" in last.reason


def test_a_failure_of_the_relay_does_not_blame_exec() -> None:
    """Without file descriptors, Exec is not blamed."""
    health = ExecHealth()
    assert [health.after_poll(PollFailed("internal", "none left")) for _ in range(10)] == [None] * 10


def test_a_rate_limit_does_not_change_the_key_s_condition() -> None:
    """A 429 is a separate condition, and a found job ends it."""
    limited = rate_limit_condition(RateLimited(20_000))
    assert limited is not None
    assert limited.state is State.RATE_LIMITED
    assert "20 s" in limited.reason
    assert ExecHealth().after_poll(RateLimited(None)) is None
    assert rate_limit_condition(JobNotFound()) == WORKING
    assert rate_limit_condition(PollFailed("timeout", "")) is None


@pytest.mark.parametrize(
    ("status", "is_unknown"),
    [("queued", False), ("processing", False), ("completed", False), ("succeeded", True), ("COMPLETED", True)],
)
def test_an_undocumented_status_is_unknown(status: str, is_unknown: bool) -> None:
    """Another spelling is another status."""
    assert is_unknown_status(ScenarioJob(id="j1", status=status)) is is_unknown

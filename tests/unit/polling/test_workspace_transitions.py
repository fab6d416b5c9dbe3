"""A poll of one job may pause its whole workspace: the pause, the ledger and the circuit breaker, row by row."""

from dataclasses import replace

import pytest

from relay.model import MINUTE, SECOND, Instant, ScenarioJob
from relay.model.poll_result import JobFound, JobNotFound, PollFailed, PollResult, RateLimited, Unauthorized
from relay.polling.request_budget import RateLimit
from relay.polling.transitions import BREAKER_OPENS_AT, UNAUTHORIZED_RETRY, apply_poll_to_workspace
from relay.store.tables.workspaces import WorkspaceState

NOW: Instant = 1_709_294_400_000
IDLE = WorkspaceState(name="default")
FOUND = JobFound(ScenarioJob(id="j1", status="queued"))
PAUSED = replace(IDLE, paused_until=NOW + MINUTE, pause_kind="failing", pause_reason="why", consecutive_failures=5)
PROBED = replace(PAUSED, paused_until=NOW)


def after(state: WorkspaceState, poll_result: PollResult, jitter: float = 0.0) -> WorkspaceState:
    return apply_poll_to_workspace(state, poll_result, NOW, RateLimit(60, 1_000, 0.8), jitter)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_pauses_the_workspace(status: int) -> None:
    """The reason names the status, Exec's message and the setting to check."""
    state = after(IDLE, Unauthorized(status, "Invalid key"))
    assert (state.paused_until, state.pause_kind) == (NOW + UNAUTHORIZED_RETRY, "unauthorized")
    assert state.pause_reason == f"Exec refuses the API key ({status}: Invalid key); check exec.api_key"


@pytest.mark.parametrize("state", [IDLE, PAUSED, PROBED])
def test_a_429_pauses_the_workspace_as_long_as_the_ledger(state: WorkspaceState) -> None:
    """A 429 counts during a pause too, as it says how long Exec refuses."""
    limited = after(state, RateLimited(7 * SECOND))
    assert limited.pause_kind == "rate_limited"
    assert limited.paused_until == limited.ledger.paused_until >= NOW + 7 * SECOND
    assert limited.ledger.refusals == 1


@pytest.mark.parametrize("kind", ["status", "timeout", "connection"])
def test_failed_polls_in_a_row_open_the_breaker(kind: str) -> None:
    """The workspace has no pause until the fifth failure; then it has one that grows with each."""
    state, pauses = IDLE, []
    for number in range(1, BREAKER_OPENS_AT + 3):
        state = after(replace(state, paused_until=None), PollFailed(kind, "no"))
        assert state.consecutive_failures == number
        pauses.append(0 if state.paused_until is None else state.paused_until - NOW)
    assert pauses == [0, 0, 0, 0, 15 * SECOND, 30 * SECOND, MINUTE]
    assert (state.pause_kind, "7 polls in a row failed" in (state.pause_reason or "")) == ("failing", True)


@pytest.mark.parametrize(
    ("state", "poll_result"),
    [
        (IDLE, PollFailed("internal", "no descriptors")),
        (PROBED, PollFailed("internal", "no descriptors")),
        (IDLE, JobNotFound()),
        (IDLE, PollFailed("malformed", "no job")),
        (PAUSED, FOUND),
        (PAUSED, JobNotFound()),
        (PAUSED, Unauthorized(401, "no")),
        (PAUSED, PollFailed("timeout", "no")),
    ],
)
def test_polls_that_do_not_concern_the_workspace_leave_it_unchanged(
    state: WorkspaceState, poll_result: PollResult
) -> None:
    """A failure of the relay itself says nothing about Exec; nor do polls that were in flight when a pause began."""
    assert after(state, poll_result) == state


@pytest.mark.parametrize("poll_result", [FOUND, JobNotFound(), PollFailed("malformed", "no job")])
def test_an_answer_ends_a_pause_that_ran_out(poll_result: PollResult) -> None:
    """Any answer of Exec about a job closes the breaker and forgets the failures."""
    assert after(PROBED, poll_result) == IDLE
    assert after(replace(IDLE, consecutive_failures=3), poll_result) == IDLE

"""State changes: each is reported once, in an operator's words, however often a subject changes."""

from hypothesis import given
from hypothesis import strategies as st

from relay.model import MINUTE, SECOND
from relay.telemetry.state_changes import (
    INTERVAL,
    MAX_CHANGES,
    WORKING,
    Condition,
    State,
    StateChange,
    StateChanges,
    Subject,
    describe_change,
    endpoint_condition,
)
from tests.make import make_endpoint

NOW = 1_800_000_000_000

EXEC = Subject("exec", "default")
ENDPOINT = Subject("endpoint", "ep_1", "ops")
REFUSED = Condition(State.KEY_REFUSED, "401, Invalid API key")
FAILING = Condition(State.FAILING, "answered 500")


def test_a_lasting_state_is_reported_once() -> None:
    """A hundred polls with a refused key are one change; the key accepted again is the second."""
    changes = StateChanges()
    reported = [changes.observe(EXEC, REFUSED, NOW + n * MINUTE) for n in range(100)]
    assert reported == [StateChange(EXEC, State.WORKING, REFUSED, NOW), *[None] * 99]
    assert changes.observe(EXEC, WORKING, NOW + INTERVAL) == StateChange(
        EXEC, State.KEY_REFUSED, WORKING, NOW + INTERVAL
    )
    assert changes.observe(EXEC, WORKING, NOW + INTERVAL) is None


def test_working_from_the_start_is_not_reported() -> None:
    """The first observation of a healthy subject is no change."""
    assert StateChanges().observe(EXEC, WORKING, NOW) is None


def test_recovery_after_a_restart_is_reported() -> None:
    """An earlier run left the key refused: that it is accepted is reported, once."""
    changes = StateChanges()
    changes.restore(EXEC, State.KEY_REFUSED)
    change = changes.observe(EXEC, WORKING, NOW)
    assert change is not None
    assert change.before is State.KEY_REFUSED
    assert changes.observe(EXEC, WORKING, NOW) is None


def test_trouble_that_outlasts_a_restart_is_reported_again() -> None:
    """The log of the new run says that the key is refused."""
    changes = StateChanges()
    changes.restore(EXEC, State.KEY_REFUSED)
    assert changes.observe(EXEC, REFUSED, NOW) == StateChange(EXEC, State.WORKING, REFUSED, NOW)


def test_an_endpoint_failing_before_this_process_is_not_reported_again() -> None:
    """Its state is stored: the run that saw the first failure reported it."""
    changes = StateChanges()
    assert changes.observe(ENDPOINT, FAILING, NOW, State.FAILING) is None
    change = changes.observe(ENDPOINT, WORKING, NOW, State.FAILING)
    assert change is not None
    assert change.after is WORKING


def test_changes_seen_by_another_relay_are_taken_over() -> None:
    """This relay saw it fail, another one saw it work: the next failure here is a change."""
    changes = StateChanges()
    assert changes.observe(ENDPOINT, FAILING, NOW, State.WORKING) is not None
    assert changes.observe(ENDPOINT, FAILING, NOW + MINUTE, State.WORKING) is not None


def test_a_flapping_subject_is_reported_four_times_an_hour_and_then_with_its_last_state() -> None:
    """An Exec that works and fails in turn does not fill the log; what it is in the end is reported."""
    changes = StateChanges()
    conditions = [REFUSED, WORKING] * 500 + [REFUSED]
    reported = [changes.observe(EXEC, one, NOW + n * SECOND) for n, one in enumerate(conditions)]
    assert len([change for change in reported if change]) == MAX_CHANGES
    assert changes.due(NOW + MINUTE) == []
    [change] = changes.due(NOW + INTERVAL)
    assert change.after == REFUSED
    assert changes.due(NOW + 3 * INTERVAL) == []


@given(st.lists(st.tuples(st.sampled_from([WORKING, REFUSED, FAILING]), st.integers(0, 20 * MINUTE)), max_size=60))
def test_reports_follow_each_other_and_end_with_the_present_state(steps: list[tuple[Condition, int]]) -> None:
    """Each report begins in the state of the one before; after an hour of rest the last one is the present state."""
    changes, now, reported = StateChanges(), NOW, []
    for condition, later in steps:
        now += later
        change = changes.observe(EXEC, condition, now)
        reported += [change] if change else []
        reported += changes.due(now)
    reported += changes.due(now + INTERVAL)
    states = [State.WORKING, *[change.after.state for change in reported]]
    assert [change.before for change in reported] == states[:-1]
    assert states[-1] is (steps[-1][0].state if steps else State.WORKING)
    for first, fifth in zip(reported, reported[MAX_CHANGES:], strict=False):
        assert fifth.at - first.at >= INTERVAL


def test_healthy_subjects_are_forgotten() -> None:
    """A million endpoints that failed once do not stay in memory."""
    changes = StateChanges()
    for number in range(100):
        subject = Subject("endpoint", f"ep_{number}")
        changes.observe(subject, FAILING, NOW, State.WORKING)
        changes.observe(subject, WORKING, NOW, State.FAILING)
    changes.due(NOW + INTERVAL)
    assert not changes._reported


def test_the_condition_of_an_endpoint() -> None:
    """Disabled before failing before working."""
    assert endpoint_condition(make_endpoint()) == WORKING
    assert endpoint_condition(make_endpoint(failures=1), "answered 500") == FAILING
    disabled = make_endpoint(failures=9, disabled_at=NOW, disabled_reason="410 Gone")
    assert endpoint_condition(disabled, "x") == Condition(State.DISABLED, "410 Gone")


def test_every_change_has_a_description() -> None:
    """Each state names the subject and the reason, and says what happens next; each recovery names the subject."""
    for state in State:
        if state is State.WORKING:
            continue
        subject = ENDPOINT if state in (State.FAILING, State.DISABLED) else EXEC
        text = describe_change(StateChange(subject, State.WORKING, Condition(state, "the reason"), NOW))
        assert subject.name in text
        assert "the reason" in text
        assert ". " in text
        assert describe_change(StateChange(subject, state, WORKING, NOW)).startswith(subject.name)

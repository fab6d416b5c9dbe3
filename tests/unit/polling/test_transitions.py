"""The design's table 'Polling Exec', row by row, as pure decisions."""

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import DAY, HOUR, MINUTE, SECOND, EventType, Instant, ScenarioJob, Watch, WatchState
from relay.model.poll_result import (
    OUTCOMES,
    JobFound,
    JobNotFound,
    Poll,
    PollFailed,
    PollResult,
    RateLimited,
    Unauthorized,
    outcome_label,
)
from relay.polling import transitions
from relay.polling.schedule.next_poll import NextPoll, PollState
from relay.polling.transitions import (
    BREAKER_OPENS_AT,
    FOUND_BEFORE_MIN_AGE,
    UNAUTHORIZED_RETRY,
    Transition,
    apply_poll,
    breaker_pause,
    poll_at_for_hint,
    trips_breaker,
)

REGISTERED = 1_709_294_400_000
WATCH = Watch(workspace="default", job_id="j1", state=WatchState.ACTIVE, created_at=REGISTERED, next_poll_at=REGISTERED)


@dataclass(frozen=True)
class Fixed:
    """A policy with one answer: the next poll comes `wait` milliseconds later."""

    wait: int

    def plan(self, poll_state: PollState, now: Instant) -> NextPoll:
        return NextPoll(now + self.wait, "planned")


def job(status: str, **fields: object) -> ScenarioJob:
    return ScenarioJob.model_validate({"id": "j1", "status": status, **fields})


def after(
    watch: Watch, poll_result: PollResult, now: Instant = REGISTERED, max_age: int = DAY, jitter: float = 0.5
) -> Transition:
    poll = Poll(now, 12, poll_result)
    return apply_poll(watch, poll, now, max_age, jitter, Fixed(15 * SECOND))


@pytest.mark.parametrize(
    ("status", "event"),
    [("completed", EventType.COMPLETED), ("failed", EventType.FAILED), ("cancelled", EventType.CANCELLED)],
)
def test_an_ended_job_settles_the_watch(status: str, event: EventType) -> None:
    """Exec's three terminal statuses end the watch with their event."""
    found = after(WATCH, JobFound(job(status)))
    assert found.events == (event,)
    assert (found.watch.state, found.watch.next_poll_at) == (WatchState.SETTLED, None)
    assert found.watch.polls == 1


@pytest.mark.parametrize("status", ["queued", "processing", "paused-for-review", ""])
def test_a_job_that_goes_on_is_polled_again(status: str) -> None:
    """Anything else, known or not, keeps the watch going as the planner says."""
    found = after(WATCH, JobFound(job(status)))
    assert (found.watch.state, found.watch.next_poll_at) == (WatchState.ACTIVE, REGISTERED + 15 * SECOND)
    assert found.watch.job == job(status)


def test_job_started_is_emitted_once() -> None:
    """job.started is established by the first poll that sees it, not by later ones."""
    first = after(WATCH, JobFound(job("queued")))
    second = after(first.watch, JobFound(job("processing", started_at="2024-03-01T12:00:05Z")))
    third = after(second.watch, JobFound(job("processing", started_at="2024-03-01T12:00:05Z")))
    assert (first.events, second.events, third.events) == ((), (EventType.STARTED,), ())


def test_a_404_ends_a_watch_only_after_three_polls_in_two_minutes() -> None:
    """Three 404s over at least two minutes before a job is given up, and not a moment before."""
    now, watch, seen = REGISTERED, WATCH, []
    while watch.state is WatchState.ACTIVE:
        found = after(watch, JobNotFound(), now)
        seen.append(now - REGISTERED)
        watch = found.watch
        now = watch.next_poll_at or now
    assert found.events == (EventType.NOT_FOUND,)
    assert watch.state is WatchState.NOT_FOUND
    assert seen == [0, 30 * SECOND, 120 * SECOND]


def test_a_found_job_resets_the_404s() -> None:
    """A 200 forgets the 404s before it."""
    watch = after(after(WATCH, JobNotFound()).watch, JobNotFound(), REGISTERED + 30 * SECOND).watch
    watch = after(watch, JobFound(job("queued")), REGISTERED + 2 * MINUTE).watch
    assert (watch.not_found_count, watch.not_found_since) == (0, None)
    assert after(watch, JobNotFound(), REGISTERED + 3 * MINUTE).watch.state is WatchState.ACTIVE


def polls_until_not_found(watch: Watch, start: Instant) -> list[int]:
    """Ages of the polls, all answered with 404, until the watch ends, in ms after the first."""
    now, ages = start, []
    while watch.state is WatchState.ACTIVE:
        transition = after(watch, JobNotFound(), now, max_age=30 * DAY)
        ages.append(now - start)
        watch = transition.watch
        assert transition.events == (() if watch.state is WatchState.ACTIVE else (EventType.NOT_FOUND,))
        now = watch.next_poll_at or now
    assert watch.state is WatchState.NOT_FOUND
    return ages


@pytest.mark.parametrize("status", ["queued", "processing", "reviewing"])
def test_a_seen_job_is_not_found_only_after_four_hours_and_few_polls(status: str) -> None:
    """A 404 for a job that Exec showed before is more likely trouble at Exec than the end of the job."""
    seen = after(WATCH, JobFound(job(status))).watch
    ages = polls_until_not_found(seen, REGISTERED + MINUTE)
    assert ages[:5] == [0, 30 * SECOND, 150 * SECOND, 750 * SECOND, 2_550 * SECOND]
    assert {later - earlier for earlier, later in pairwise(ages[4:])} == {HOUR}
    assert FOUND_BEFORE_MIN_AGE == 4 * HOUR
    assert 4 * HOUR <= ages[-1] < 5 * HOUR
    assert len(ages) <= 10


@pytest.mark.parametrize(
    ("age", "ends"),
    [(0, False), (2 * MINUTE, False), (140 * SECOND, False), (4 * HOUR - 1, False), (4 * HOUR, True), (DAY, True)],
)
def test_a_seen_job_is_not_given_up_before_four_hours(age: int, ends: bool) -> None:
    """However many 404s came: with 50 of them a seen job still has its four hours."""
    doubted = replace(WATCH, job=job("processing"), not_found_count=50, not_found_since=REGISTERED)
    transition = after(doubted, JobNotFound(), REGISTERED + age, max_age=30 * DAY)
    assert (transition.watch.state is WatchState.NOT_FOUND) is ends
    if not ends:
        assert "if that lasts 4 hours" in transition.watch.next_poll_reason


def test_a_good_poll_resets_the_404s_of_a_seen_job() -> None:
    """Four hours count from the first 404 in a row, not from the first ever."""
    doubted = after(after(WATCH, JobFound(job("queued"))).watch, JobNotFound(), REGISTERED).watch
    found = after(doubted, JobFound(job("processing")), REGISTERED + 3 * HOUR).watch
    assert (found.not_found_count, found.not_found_since) == (0, None)
    assert polls_until_not_found(found, REGISTERED + 4 * HOUR)[-1] >= 4 * HOUR


def test_a_seen_job_that_ends_after_404s_emits_its_event() -> None:
    """The real ending is an ending, however long Exec answered 404 before."""
    doubted = replace(WATCH, job=job("processing"), not_found_count=9, not_found_since=REGISTERED)
    transition = after(doubted, JobFound(job("completed")), REGISTERED + 5 * HOUR)
    assert transition.events == (EventType.COMPLETED,)


def test_a_refused_key_makes_watches_wait_however_long() -> None:
    """401 and 403 never end a watch, not even past max_age: nothing is lost while the operator finds the key."""
    found = after(WATCH, Unauthorized(401, "Invalid or inactive API key"), REGISTERED + 3 * DAY)
    assert found.events == ()
    assert found.watch.next_poll_at == REGISTERED + 3 * DAY + UNAUTHORIZED_RETRY


def test_a_limited_poll_waits_as_long_as_exec_says() -> None:
    """429: the watch waits for retry_after, or a minute where Exec does not say."""
    assert after(WATCH, RateLimited(7 * SECOND)).watch.next_poll_at == REGISTERED + 7 * SECOND
    assert after(WATCH, RateLimited(None)).watch.next_poll_at == REGISTERED + MINUTE


@pytest.mark.parametrize("kind", ["status", "timeout", "connection", "malformed"])
def test_failed_polls_back_off_to_a_cap(kind: str) -> None:
    """Each failed poll in a row waits longer: a minute at most while a deploy may be the cause, then up to five minutes
    (plus jitter); a good one forgets them."""
    watch, gaps = WATCH, []
    for _ in range(12):
        watch = after(watch, PollFailed(kind, "no"), jitter=0.0).watch
        gaps.append((watch.next_poll_at or 0) - REGISTERED)
    assert gaps == sorted(gaps)
    assert gaps[:5] == [5 * SECOND, 10 * SECOND, 20 * SECOND, 40 * SECOND, MINUTE]
    assert max(gap for n, gap in enumerate(gaps) if sum(gaps[:n]) < 5 * MINUTE) == MINUTE
    assert gaps[-1] == 5 * MINUTE
    assert after(watch, JobFound(job("queued"))).watch.failures == 0


@pytest.mark.parametrize(
    "poll_result",
    [JobFound(job("processing")), JobNotFound(), PollFailed("malformed", "x"), PollFailed("status", "500")],
)
def test_a_job_that_does_not_end_expires(poll_result: PollResult) -> None:
    """Past max_age, a poll that Exec answered ends the watch, and every endpoint is notified."""
    old = replace(WATCH, not_found_count=2, not_found_since=REGISTERED)
    found = after(old, poll_result, REGISTERED + DAY)
    assert found.events[-1] in (EventType.EXPIRED, EventType.NOT_FOUND)
    assert found.watch.state is not WatchState.ACTIVE


@pytest.mark.parametrize("kind", ["timeout", "connection"])
def test_an_unreachable_exec_expires_no_watch(kind: str) -> None:
    """While nobody can ask, nobody knows that the job has not ended."""
    assert after(WATCH, PollFailed(kind, "x"), REGISTERED + 2 * DAY).watch.state is WatchState.ACTIVE


def test_the_last_poll_is_not_planned_past_max_age() -> None:
    """A job expires when it is max_age old, not at whatever poll comes after."""
    found = after(WATCH, JobFound(job("processing")), max_age=10 * SECOND)
    assert found.watch.next_poll_at == REGISTERED + 10 * SECOND


SIGHTINGS = st.one_of(
    st.sampled_from(["queued", "processing", "completed", "failed", "cancelled", "new"]).map(
        lambda s: JobFound(job(s))
    ),
    st.just(JobNotFound()),
    st.builds(Unauthorized, st.sampled_from([401, 403]), st.just("no")),
    st.builds(RateLimited, st.none() | st.integers(0, DAY)),
    st.builds(PollFailed, st.sampled_from(["status", "timeout", "connection", "malformed"]), st.just("x")),
)


@given(st.lists(st.tuples(SIGHTINGS, st.integers(0, HOUR), st.floats(0, 0.999)), max_size=60))
def test_whatever_exec_answers_a_watch_ends_once_or_has_a_next_poll(story: list[tuple[PollResult, int, float]]) -> None:
    """After any answers a watch has either ended, with exactly one ending event, or has a next poll."""
    watch, now, told = WATCH, REGISTERED, []
    for poll_result, wait, jitter in story:
        if watch.state is not WatchState.ACTIVE:
            break
        now = max(now, watch.next_poll_at or now) + wait
        found = after(watch, poll_result, now, jitter=jitter)
        watch = found.watch
        told += [event for event in found.events if event is not EventType.STARTED]
    if watch.state is WatchState.ACTIVE:
        assert not told
        assert watch.next_poll_at is not None
        assert watch.next_poll_at >= now
    else:
        assert len(told) == 1
        assert watch.next_poll_at is None


def test_the_breaker_opens_after_five_failures_and_is_capped() -> None:
    """A workspace is left alone for longer and longer once polls fail in a row, five minutes at most."""
    assert breaker_pause(BREAKER_OPENS_AT - 1, 0.9) is None
    pauses = [breaker_pause(BREAKER_OPENS_AT + n, 0.0) or 0 for n in range(40)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (15 * SECOND, 5 * MINUTE)


def test_a_malformed_answer_does_not_trip_the_breaker() -> None:
    """The breaker counts what says that Exec as a whole is in trouble."""
    assert not trips_breaker(PollFailed("malformed", "x"))
    assert not trips_breaker(JobNotFound())
    assert trips_breaker(PollFailed("timeout", "x"))


def test_a_hint_during_a_poll_causes_another_poll() -> None:
    """The poll may have been answered before the job ended: the hint is polled into at once, and counts against it
    only where it is not borne out then."""
    hinted = replace(WATCH, callback_received_at=REGISTERED + 1)
    seen = Poll(REGISTERED, 12, JobFound(job("processing")))
    first = apply_poll(hinted, seen, REGISTERED + 5, DAY, 0.5, Fixed(HOUR)).watch
    assert (first.next_poll_at, first.unconfirmed_hints, first.has_pending_hint) == (REGISTERED + 5, 0, True)
    second = after(first, JobFound(job("processing")), REGISTERED + 5).watch
    assert (second.next_poll_at, second.unconfirmed_hints, second.has_pending_hint) == (
        REGISTERED + 5 + 15 * SECOND,
        1,
        False,
    )


def test_unconfirmed_hints_delay_the_next_poll_more_and_more() -> None:
    """The first at once; then 10 s, 20 s, 40 s after the poll before, and so on to 5 minutes."""
    assert poll_at_for_hint(WATCH, REGISTERED) == REGISTERED
    for hints, gap in ((0, 10 * SECOND), (1, 20 * SECOND), (2, 40 * SECOND), (9, 5 * MINUTE), (99, 5 * MINUTE)):
        polled = replace(WATCH, callback_received_at=REGISTERED, last_poll_at=REGISTERED + 300, unconfirmed_hints=hints)
        assert poll_at_for_hint(polled, REGISTERED + SECOND) == REGISTERED + 300 + gap
        assert poll_at_for_hint(polled, REGISTERED + HOUR) == REGISTERED + HOUR


@pytest.mark.parametrize("poll_result", [JobNotFound(), PollFailed("malformed", "no job")])
def test_a_job_named_only_by_a_hint_ends_silently(poll_result: PollResult) -> None:
    """One 404 ends it, and nobody is notified of that or of its expiry; once Exec knows it, it is like any
    other job."""
    named = replace(WATCH, unconfirmed_since=REGISTERED, callback_received_at=REGISTERED)
    found = after(named, poll_result, REGISTERED + DAY)
    assert (found.events, found.watch.next_poll_at) == ((), None)
    assert found.watch.unconfirmed_since == REGISTERED
    known = after(named, JobFound(job("processing"))).watch
    assert (known.state, known.unconfirmed_since) == (WatchState.ACTIVE, None)
    assert after(named, JobFound(job("completed"))).events == (EventType.COMPLETED,)


def test_outcomes_list_every_outcome_label() -> None:
    """Metrics begin with all of them at 0: each fault's kind, and every other thing that a poll can bring."""
    job = ScenarioJob(id="j1", status="queued")
    ended = job.model_copy(update={"status": "failed"})
    brought: list[PollResult] = [
        JobFound(job),
        JobFound(ended),
        JobNotFound(),
        Unauthorized(401, ""),
        RateLimited(None),
    ]
    names = [outcome_label(poll_result) for poll_result in brought]
    kinds = re.findall(r'PollFailed\("([a-z]+)"', (Path(transitions.__file__).parent / "exec_client.py").read_text())
    assert sorted({*names, *kinds}) == sorted(OUTCOMES)

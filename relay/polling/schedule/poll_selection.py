"""Selects which due watches are polled now, and plans the others for later, by the budget at this moment.

A due poll was planned at an earlier price: if the price has risen, the poll moves to a later time. The first poll of a
job is a special case, because nothing is known about the job: the jobs registered before it show whether it may have
ended already. If they say no, but many jobs were registered together, eight of them are polled anyway, because their
answers speak for all (Howard, 'Information value theory', 1966: an answer is worth the decisions it may change, over
all jobs that it informs about).

By hand: a poll is worth 150 s, would otherwise be made 330 s after the registration, and of the last fifty jobs none
had ended when it was registered, so that up to 3 in 50 may have. Eight polls cost 1,200 s and may save 0.06 · 330 s
for each job that waits: with 61 jobs or more they are made.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from relay.model import MINUTE, SECOND, Instant
from relay.model.duration_history import DurationHistory
from relay.polling.schedule.job_durations import EXPLORE_ONE_IN, ended_share, may_have_ended
from relay.polling.schedule.next_poll import NextPoll, PollState
from relay.polling.schedule.policy import PollPolicy

TEST_POLLS = 8
"""First polls whose answers are awaited before more are made, if less than half of the day's polls is left."""
_OUTGROWN = 10
"""A policy is outgrown by one in so many of the jobs that it was built for, if that is more than `TEST_POLLS`."""
_TEST_EVERY = 10 * SECOND
_ANSWERED_WITHIN = 5 * SECOND
_TEST_DELAY = 2 * SECOND
_BATCH_INTERVAL = 10 * SECOND
_EARLY_SHARE = 0.42
"""The share of polls planned together that are made before their time. Less than half: a poll that is too early has to
be made again."""


@dataclass(frozen=True, slots=True)
class Due:
    """A due watch. `is_requested`: a callback or an earlier answer asks for a poll now."""

    poll_state: PollState
    number: int
    """Any number that belongs to the job: it decides which first polls are the one in fifty."""
    is_requested: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The state of the budget and of the first polls in flight."""

    now: Instant
    day_left: int
    """Polls that the day still allows."""
    day: int
    """Polls that a whole day allows."""
    minute: int
    """Polls that a minute allows."""
    unanswered: int = 0
    """First polls in flight."""
    tested_at: Instant | None = None
    """When first polls last tested jobs that were registered together."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The decision for each due watch, by its index in the argument."""

    now: Sequence[int]
    """The watches to poll now, the most worthwhile first."""
    later: Sequence[tuple[int, NextPoll]]
    tests: bool = False
    """Whether some of these test jobs that were registered together."""
    policy_is_outgrown: bool = False
    """Whether more jobs have come than the policy was built for: build it again before the next selection."""


def select(due: Sequence[Due], policy: PollPolicy, durations: DurationHistory, moment: Moment) -> Selection:
    """Decides which of the due watches to poll now, ranked, and when to poll the others."""
    polls, later, first = list[int](), list[tuple[int, NextPoll]](), list[int]()
    for k, candidate in enumerate(due):
        state = candidate.poll_state
        if candidate.is_requested or state.failures or state.awaits_callback:
            polls.append(k)
        elif state.last_poll_at is None:
            first.append(k)
        elif (plan := policy.postpone(state, moment.now)) is not None:
            later.append((k, plan))
        else:
            polls.append(k)
    registered_later = sum(due[k].poll_state.registered_at > policy.made_at for k in first)
    is_outgrown = max(registered_later, len(first) - policy.number) > max(TEST_POLLS, policy.number // _OUTGROWN)
    first_now, waiting, tests = _first_polls(first, due, policy, durations, moment, is_outgrown)
    gain = {k: policy.expected_delay_saved(due[k].poll_state, moment.now) for k in polls}
    share = ended_share(durations)
    for k in first_now:  # jobs registered within ten seconds count as registered together, and have no order
        poll_state = due[k].poll_state
        registered_in_batch = replace(
            poll_state, registered_at=poll_state.registered_at // _BATCH_INTERVAL * _BATCH_INTERVAL
        )
        gain[k] = policy.expected_delay_saved(registered_in_batch, moment.now, share)
    ranked = sorted((*polls, *first_now), key=lambda k: (due[k].is_requested, gain[k]), reverse=True)
    return Selection(ranked, [*later, *waiting], tests, is_outgrown)


def _first_polls(
    first: Sequence[int],
    due: Sequence[Due],
    policy: PollPolicy,
    durations: DurationHistory,
    moment: Moment,
    is_outgrown: bool,
) -> tuple[Sequence[int], list[tuple[int, NextPoll]], bool]:
    """Decides which first polls are made at once, when the others are made, and whether those at once are a test."""
    now = moment.now
    planned = {k: _first_plan(due[k].poll_state, policy, moment) for k in first}
    in_time = [k for k in first if planned[k].at <= now]  # they need no test: the schedule has them polled now
    new = [k for k in first if planned[k].at > now]
    if not new:
        return in_time, [], False
    at_once, tests = _at_once(new, due, policy, durations, moment, is_outgrown)
    if at_once is None:
        tested = (
            moment.tested_at is not None and 0 <= now - moment.tested_at < _TEST_EVERY
        )  # then their answers suffice
        exploring = [] if tested else [k for k in new if due[k].number % EXPLORE_ONE_IN == 0]
        plans = _spread([(k, planned[k]) for k in new if k not in exploring], moment)
        spread_to_now = [k for k, plan in plans if plan.at <= now]
        return in_time + exploring + spread_to_now, [(k, plan) for k, plan in plans if plan.at > now], False
    after_test = NextPoll(now + _TEST_DELAY, "the first polls of other jobs show whether such jobs have ended already")
    chosen = set(at_once)
    return [*in_time, *at_once], [(k, after_test) for k in new if k not in chosen], tests


def _at_once(
    new: Sequence[int],
    due: Sequence[Due],
    policy: PollPolicy,
    durations: DurationHistory,
    moment: Moment,
    is_outgrown: bool,
) -> tuple[list[int] | None, bool]:
    """The new jobs that are polled at once while the others wait for their answers, and whether they are a test. None
    if the others wait for the schedule."""
    now = moment.now
    ample = 2 * moment.day_left >= moment.day
    sample = sorted(new, key=lambda k: due[k].number * 2_654_435_761 % 2**32)  # not the order of registration
    share, wait = may_have_ended(durations, ample), policy.first_age
    price = min(policy.price, wait)  # no poll of another new job waits longer
    capacity = len(new) if ample or ended_share(durations) >= 0.5 else max(TEST_POLLS - moment.unanswered, 0)
    tested = moment.tested_at is not None and 0 <= now - moment.tested_at < _TEST_EVERY
    tested = tested and not any(durations.already_ended[-TEST_POLLS:])
    if is_outgrown:
        return ([], False) if tested else (sample[:capacity], True)
    # The price was found with first polls or without; answers since then may show that more jobs have ended.
    fits = policy.table.poll_immediately or ended_share(durations) > ended_share(policy.durations)
    if fits and share * wait >= (1 - share) * price:
        return sample[:capacity], False
    if not tested and len(new) * share * wait >= TEST_POLLS * price:
        return sample[:capacity], True
    if moment.tested_at is not None and 0 <= now - moment.tested_at < _ANSWERED_WITHIN and moment.unanswered:
        return [], False
    return None, False


def _first_plan(poll_state: PollState, policy: PollPolicy, moment: Moment) -> NextPoll:
    """The first poll of a job that is not polled at once: now, if `_spread` may have moved it here from its time."""
    plan, interval = policy.first_plan(poll_state, moment.now), MINUTE / moment.minute
    early = min(_EARLY_SHARE * policy.new * interval, (plan.at - poll_state.registered_at) / 2)
    return replace(plan, at=moment.now) if plan.at - early <= moment.now else plan


def _spread(plans: Sequence[tuple[int, NextPoll]], moment: Moment) -> list[tuple[int, NextPoll]]:
    """Spreads polls that are planned together, as far apart as the minute allows, a third of them before their time:
    otherwise all of them would be late by the time that the others take. None comes before half of its time."""
    interval, spread = MINUTE / moment.minute, []
    for index, (k, plan) in enumerate(plans):
        shift = max(round((index - _EARLY_SHARE * len(plans)) * interval), -(plan.at - moment.now) // 2)
        spread.append((k, replace(plan, at=plan.at + shift) if plan.at > moment.now else plan))
    return spread

"""Which of the due watches are polled now, and when the others are: the budget being what it is at this moment.

What falls due was planned at an earlier price: where the price has risen, the poll moves on. The first poll of a job is
a case of its own, since nothing is known of the job: whether it has ended already is judged by those registered before
it. Where that says no, eight of many that are registered together are polled all the same, as their answers speak for
all (Howard, 'Information value theory', 1966: an answer is worth what it may change, in all jobs that it tells
of).

By hand: the poll is worth 150 s, would otherwise be made 330 s after the registration, and of the last fifty jobs none
had ended when it was registered, so that up to 3 in 50 may have. Eight polls cost 1,200 s and may save 0.06 · 330 s
for each job that waits: from 61 jobs on they are made.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from relay.model import MINUTE, SECOND, Instant
from relay.model.duration_history import DurationHistory
from relay.polling.schedule.job_durations import ended_share, may_have_ended
from relay.polling.schedule.next_poll import NextPoll, PollState
from relay.polling.schedule.policy import PollPolicy

TOGETHER = 8
"""First polls whose answers are waited for, where less than half of the day is left."""
ONE_IN = 50
"""Of first polls that are put off, one in so many is made at once: as many as are remembered of whether a job had ended
when it was registered, so that at least one of these is always fresh (constant exploration, as it must be where what is
learned may change: Sutton and Barto, 'Reinforcement Learning', 2018, 2.5)."""

_TEST_EVERY = 10 * SECOND
_ANSWERED_WITHIN = 5 * SECOND
_SHORTLY = 2 * SECOND
_TOGETHER = 10 * SECOND


@dataclass(frozen=True, slots=True)
class Due:
    """A watch that is due. `asked` is for one that a callback, or an earlier answer, asks to poll now."""

    poll_state: PollState
    number: int
    """Any number that goes with the job: it decides which first polls are the one in fifty."""
    asked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What the budget and the first polls under way are like."""

    now: Instant
    day_left: int
    """Polls that the day still allows."""
    day: int
    """Polls that a whole day allows."""
    minute: int
    """Polls that a minute allows."""
    unanswered: int = 0
    """First polls under way."""
    tested_at: Instant | None = None
    """When first polls were last made to test those registered together."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What becomes of due watches, by their place in what was given."""

    now: Sequence[int]
    """To be polled, the most worthwhile first."""
    later: Sequence[tuple[int, NextPoll]]
    tests: bool = False
    """Whether some of these are a test of those registered together."""
    outgrown: bool = False
    """Whether more jobs have come than the pace was made for: it is to be made anew before the next selection."""


def select(due: Sequence[Due], policy: PollPolicy, known: DurationHistory, moment: Moment) -> Selection:
    """Which of the due watches to poll now, ranked, and when to poll the others."""
    polls, later, first = list[int](), list[tuple[int, NextPoll]](), list[int]()
    for k, one in enumerate(due):
        if one.asked or one.poll_state.failures or one.poll_state.awaits_callback:
            polls.append(k)
        elif one.poll_state.last_poll_at is None:
            first.append(k)
        elif (plan := policy.postpone(one.poll_state, moment.now)) is not None:
            later.append((k, plan))
        else:
            polls.append(k)
    outgrown = len(first) > policy.number + TOGETHER
    at_once, waiting, tests = _first_polls(first, due, policy, known, moment, outgrown)
    gain = {k: policy.expected_delay_saved(due[k].poll_state, moment.now) for k in polls}
    share = ended_share(known)
    for k in at_once:  # registered within ten seconds is as good as together, and polled in no order
        poll_state = due[k].poll_state
        together = replace(poll_state, registered_at=poll_state.registered_at // _TOGETHER * _TOGETHER)
        gain[k] = policy.expected_delay_saved(together, moment.now, share)
    ranked = sorted((*polls, *at_once), key=lambda k: (due[k].asked, gain[k]), reverse=True)
    return Selection(ranked, [*later, *waiting], tests, outgrown)


def _first_polls(
    first: Sequence[int], due: Sequence[Due], policy: PollPolicy, known: DurationHistory, moment: Moment, outgrown: bool
) -> tuple[Sequence[int], list[tuple[int, NextPoll]], bool]:
    """Which first polls are made at once, when the others are, and whether those at once are a test."""
    now = moment.now
    if not first:
        return first, [], False
    plenty = 2 * moment.day_left >= moment.day
    shortly = NextPoll(now + _SHORTLY, "the first polls of other jobs show whether such jobs have ended already")
    sample: Sequence[int] = sorted(
        first, key=lambda k: due[k].number * 2_654_435_761 % 2**32
    )  # not the order of registration
    share, wait = may_have_ended(known, plenty), policy.first_age
    price = min(policy.price, wait)  # no poll of another new job is put off for longer
    room = len(first) if plenty or ended_share(known) >= 0.5 else max(TOGETHER - moment.unanswered, 0)
    if outgrown:
        return sample[:room], [(k, shortly) for k in sample[room:]], True
    if share * wait >= (1 - share) * price:
        return sample[:room], [(k, shortly) for k in sample[room:]], False
    tested = moment.tested_at is not None and 0 <= now - moment.tested_at < _TEST_EVERY
    tested = tested and not any(known.share_already_ended[-TOGETHER:])
    if not tested and len(first) * share * wait >= TOGETHER * price:
        return sample[:room], [(k, shortly) for k in sample[room:]], True
    if moment.tested_at is not None and 0 <= now - moment.tested_at < _ANSWERED_WITHIN and moment.unanswered:
        return [], [(k, shortly) for k in first], False
    one_in = [k for k in first if due[k].number % ONE_IN == 0]
    plans = _spread([(k, policy.first_plan(due[k].poll_state, now)) for k in first if due[k].number % ONE_IN], moment)
    return one_in + [k for k, plan in plans if plan.at <= now], [(k, plan) for k, plan in plans if plan.at > now], False


def _spread(plans: Sequence[tuple[int, NextPoll]], moment: Moment) -> list[tuple[int, NextPoll]]:
    """Polls planned together, as far apart as the minute allows, half of them before their time: else all of them would
    be late by what the others take. None comes before half of its time."""
    apart, spread = MINUTE / moment.minute, []
    for place, (k, plan) in enumerate(plans):
        moved = max(round((place - len(plans) / 2) * apart), -(plan.at - moment.now) // 2)
        spread.append((k, replace(plan, at=plan.at + moved) if plan.at > moment.now else plan))
    return spread

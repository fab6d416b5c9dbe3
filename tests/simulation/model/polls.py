"""The model of polls: relays that share a budget and a watch, Exec's callback, and one job that ends at some moment."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from tests.simulation.rules import Rule

T = TypeVar("T")

WINDOW = 4
"""Ticks in which Exec takes `LIMIT` requests."""
LIMIT = 1
LEASE = 3
PLANNED = 6
"""Ticks to the next planned poll, if nothing calls back."""


class Poll(NamedTuple):
    """A poll of one relay."""

    phase: str
    """`leased`, `sent`, `seen` (Exec answered: running) or `ended` (Exec answered: ended)."""
    since: int
    """The tick at which it was spent."""


class State(NamedTuple):
    """All of it."""

    now: int
    is_ended: bool
    """Whether the job has ended at Exec."""
    due: int | None
    """The next poll of the watch; None: the watch has ended."""
    hint: int
    """The tick of the last callback; -1: none."""
    polled: int
    """The tick at which the last recorded poll began; -1: none."""
    spent: tuple[int, ...]
    """The ticks of the requests in the ledger."""
    arrived: tuple[int, ...]
    """The ticks at which requests came to Exec."""
    polls: tuple[Poll | None, ...]
    frozen: tuple[bool, ...]
    events: int
    deliveries: int
    hurts: int
    callbacks: int
    broken: str | None


@dataclass(frozen=True, slots=True)
class Polls:
    """The model, without the rules `without`."""

    relays: int = 2
    hurts: int = 1
    callbacks: int = 1
    last: int = 12
    without: frozenset[Rule] = frozenset()

    def start(self) -> State:
        """The job was just registered."""
        return State(
            now=0,
            is_ended=False,
            due=0,
            hint=-1,
            polled=-1,
            spent=(),
            arrived=(),
            polls=(None,) * self.relays,
            frozen=(False,) * self.relays,
            events=0,
            deliveries=0,
            hurts=self.hurts,
            callbacks=self.callbacks,
            broken=None,
        )

    def is_done(self, state: State) -> bool:
        """Whether the ending is told, or the model is at its end."""
        return state.deliveries > 0 or state.now >= self.last

    def broken(self, state: State) -> str | None:
        """A rule that the state breaks."""
        if any(later - earlier < WINDOW for earlier, later in zip(state.arrived, state.arrived[LIMIT:], strict=False)):
            return Rule.BUDGET_BEFORE_REQUEST.value
        if state.events > 1:
            return Rule.EVENT_ONCE.value
        if state.events and not state.deliveries:
            return Rule.EVENT_WITH_DELIVERIES.value
        return state.broken

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """All steps."""
        if state.now < self.last and not any(self._in_debt(state, relay) for relay in range(self.relays)):
            yield "tick", state._replace(now=state.now + 1, spent=_counting(state.spent, state.now + 1))
        if not state.is_ended:
            yield "the job ends", state._replace(is_ended=True)
        if state.callbacks and state.due is not None:
            yield "callback", self._hinted(state)
        for relay, poll in enumerate(state.polls):
            if state.frozen[relay]:
                yield f"resume {relay}", state._replace(frozen=_put(state.frozen, relay, False))
            else:
                if state.hurts and poll is not None:
                    less = state._replace(hurts=state.hurts - 1)
                    yield f"crash {relay}", less._replace(polls=_put(state.polls, relay, None))
                    yield f"stall {relay}", less._replace(frozen=_put(state.frozen, relay, True))
                yield from self._of_relay(state, relay, poll)
            if poll is not None and poll.phase == "sent":
                seen = poll._replace(phase="ended" if state.is_ended else "seen")
                arrived = (*(at for at in state.arrived if at > state.now - WINDOW), state.now)
                yield f"answer {relay}", state._replace(polls=_put(state.polls, relay, seen), arrived=arrived)

    def _in_debt(self, state: State, relay: int) -> bool:
        """Whether the relay, or Exec, has to do something before time passes."""
        poll = state.polls[relay]
        if state.frozen[relay]:
            return poll is not None and poll.phase == "sent"
        return poll is not None or (state.due is not None and state.due <= state.now and len(state.spent) < LIMIT)

    def _hinted(self, state: State) -> State:
        """Exec's callback: a poll is due now. While the job is polled, that poll decides."""
        assert state.due is not None
        is_leased = any(poll is not None for poll in state.polls)
        due = state.due if is_leased else min(state.due, state.now)
        return state._replace(hint=state.now, due=due, callbacks=state.callbacks - 1)

    def _of_relay(self, state: State, relay: int, poll: Poll | None) -> Iterator[tuple[str, State]]:
        if poll is None:
            may_spend = len(state.spent) < LIMIT or Rule.BUDGET_BEFORE_REQUEST in self.without
            if state.due is not None and state.due <= state.now and may_spend:
                spent = state.spent if Rule.BUDGET_BEFORE_REQUEST in self.without else (*state.spent, state.now)
                leased = state._replace(due=state.now + LEASE, spent=spent)
                yield f"lease {relay}", leased._replace(polls=_put(state.polls, relay, Poll("leased", state.now)))
        elif poll.phase == "leased":
            if poll.since < state.now and Rule.LATE_POLL_SPENDS_AGAIN not in self.without:
                yield f"drop {relay}", state._replace(polls=_put(state.polls, relay, None))
            else:
                yield f"send {relay}", state._replace(polls=_put(state.polls, relay, poll._replace(phase="sent")))
        elif poll.phase in ("seen", "ended"):
            yield f"record {relay}", self._recorded(state, relay, poll)

    def _recorded(self, state: State, relay: int, poll: Poll) -> State:
        over = state._replace(polls=_put(state.polls, relay, None), polled=poll.since)
        if state.due is None and Rule.EVENT_ONCE not in self.without:
            return over
        if poll.phase == "ended":
            told = state.deliveries + (0 if Rule.EVENT_WITH_DELIVERIES in self.without else 1)
            return over._replace(due=None, events=min(2, state.events + 1), deliveries=min(2, told))
        is_pending = state.hint >= poll.since and state.hint > state.polled
        if is_pending and Rule.HINT_SURVIVES_POLL not in self.without:
            return over._replace(due=state.now)
        wrong = Rule.HINT_SURVIVES_POLL.value if is_pending and Rule.HINT_SURVIVES_POLL in self.without else None
        return over._replace(due=state.now + PLANNED, broken=wrong)


def _counting(spent: tuple[int, ...], now: int) -> tuple[int, ...]:
    return tuple(at for at in spent if now - at < WINDOW)


def _put(values: tuple[T, ...], index: int, value: T) -> tuple[T, ...]:
    return (*values[:index], value, *values[index + 1 :])


def without(model: Polls, rule: Rule) -> Polls:
    """The model without one rule."""
    return replace(model, without=frozenset([rule]))


RULES = frozenset(
    {
        Rule.BUDGET_BEFORE_REQUEST,
        Rule.LATE_POLL_SPENDS_AGAIN,
        Rule.EVENT_ONCE,
        Rule.EVENT_WITH_DELIVERIES,
        Rule.HINT_SURVIVES_POLL,
    }
)
"""The rules that can be taken out of this model."""

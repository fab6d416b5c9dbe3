"""The model of leases and the outbox: relays that share deliveries, and may crash, stand still and have wrong clocks.

A relay does at once what it has to do, unless it stands still: time passes only when no running relay is in debt. Only
between lease and attempt it may take its time. Times are relative to now, so that there are finitely many states. Each
rule can be taken out of the model; the checker then has to find what it was for.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from tests.simulation.rules import Rule

T = TypeVar("T")

TIMEOUT = 1
LEASE = 3
"""In ticks: an attempt may begin if its lease lasts longer than the attempt."""


class Attempt(NamedTuple):
    """What one relay does about one delivery."""

    token: int
    until: int
    phase: str
    """`leased`, `sent`, `lost`, `taken` (by the receiver), `refused`, `ok` or `failed` (to be recorded)."""
    age: int
    """Ticks since it was sent, as far as they matter."""


class Row(NamedTuple):
    """A delivery in the store."""

    status: str
    due: int
    token: int
    """Of its lease; 0: none."""
    received: int
    """How often the receiver took it, up to 3."""


class State(NamedTuple):
    """All of it."""

    rows: tuple[Row, ...]
    relays: tuple[tuple[Attempt | None, ...] | None, ...]
    """Of each relay its attempts by delivery; None: it stands still with what `frozen` has."""
    frozen: tuple[tuple[Attempt | None, ...] | None, ...]
    hurts: int
    """Crashes, stalls and lost answers that may still come."""
    hurt: bool
    broken: str | None


@dataclass(frozen=True, slots=True)
class Deliveries:
    """The model, without the rules `without`."""

    relays: int = 2
    number: int = 1
    hurts: int = 1
    skew: int = 0
    """Ticks by which the clock of the last relay is ahead."""
    reserve: int = 1
    """Ticks that an attempt leaves of its lease: more than clocks differ."""
    without: frozenset[Rule] = frozenset()

    def start(self) -> State:
        """Every delivery is due."""
        idle: tuple[Attempt | None, ...] = (None,) * self.number
        rows = (Row("pending", 0, 0, 0),) * self.number
        return State(rows, (idle,) * self.relays, (None,) * self.relays, self.hurts, False, None)

    def is_done(self, state: State) -> bool:
        """Whether each is delivered."""
        return all(row.status == "delivered" for row in state.rows)

    def broken(self, state: State) -> str | None:
        """A rule of the protocol that the state breaks."""
        for row in state.rows:
            if row.status == "delivered" and not row.received:
                return Rule.ATTEMPT_BEFORE_RESULT.value
            if row.status == "delivered" and (row.token or row.due):
                return Rule.ENDED_IS_NOT_DUE.value
            if row.received > 1 and not state.hurt:
                return Rule.LEASE_ONLY_DUE.value
        return state.broken

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """All steps."""
        if not any(self._in_debt(state, relay) for relay in range(self.relays)):
            yield "tick", _one_tick_later(state)
        for relay, attempts in enumerate(state.relays):
            if attempts is None:
                yield f"resume {relay}", self._resumed(state, relay)
                continue
            if state.hurts:
                yield f"crash {relay}", self._crashed(state, relay)
                yield f"stall {relay}", self._stalled(state, relay)
            for number in range(self.number):
                yield from self._of_relay(state, relay, number)
        yield from self._of_receivers(state)

    def _ahead(self, relay: int) -> int:
        """Ticks by which the clock of a relay is ahead."""
        return self.skew if relay == self.relays - 1 else 0

    def _in_debt(self, state: State, relay: int) -> bool:
        """Whether the relay, or a receiver that it called, has to do something before time passes."""
        attempts = state.relays[relay]
        if attempts is None:
            return any(one is not None and one.phase == "sent" for one in state.frozen[relay] or ())
        for row, mine in zip(state.rows, attempts, strict=True):
            if mine is None:
                if self._may_lease(row, self._ahead(relay)) and Rule.LEASE_ONLY_DUE not in self.without:
                    return True
            elif mine.phase == "leased":
                if mine.until <= self._ahead(relay):
                    return True
            elif mine.phase not in ("sent", "lost") or mine.age >= TIMEOUT:
                return True
        return False

    def _of_relay(self, state: State, relay: int, number: int) -> Iterator[tuple[str, State]]:
        attempts = state.relays[relay]
        assert attempts is not None
        row, mine, now = state.rows[number], attempts[number], self._ahead(relay)
        where = f"{number} by {relay}"
        if mine is None:
            if self._may_lease(row, now):
                token, until = _next_token(state), now + LEASE
                leased = row._replace(due=until, token=token)
                yield f"lease {where}", self._with(state, relay, number, leased, Attempt(token, until, "leased", 0))
        elif mine.phase == "leased":
            if mine.until - now > TIMEOUT + self.reserve or Rule.LEASE_OUTLASTS_ATTEMPT in self.without:
                yield f"send {where}", self._with(state, relay, number, row, mine._replace(phase="sent"))
            else:
                yield f"drop {where}", self._with(state, relay, number, row, None)
            if Rule.ATTEMPT_BEFORE_RESULT in self.without:
                done = row._replace(status="delivered", due=0, token=0)
                yield f"mark {where}", self._with(state, relay, number, done, mine)
        elif mine.phase == "sent":
            return
        elif mine.phase == "lost":
            if mine.age >= TIMEOUT:
                yield f"time out {where}", self._with(state, relay, number, row, mine._replace(phase="failed"))
        elif mine.phase == "taken":
            yield f"hear yes {where}", self._with(state, relay, number, row, mine._replace(phase="ok"))
        elif mine.phase == "refused":
            yield f"hear no {where}", self._with(state, relay, number, row, mine._replace(phase="failed"))
        else:
            yield f"record {where}", self._recorded(state, relay, number, row, mine)

    def _may_lease(self, row: Row, now: int) -> bool:
        if row.status != "pending":
            return False
        if Rule.LEASE_ONLY_DUE in self.without:
            return True
        if Rule.LEASE_EXPIRES in self.without and row.token:
            return False
        return row.due <= now

    def _recorded(self, state: State, relay: int, number: int, row: Row, mine: Attempt) -> State:
        is_own = row.token == mine.token
        if mine.phase == "ok":
            if is_own or Rule.SUCCESS_COUNTS_ALWAYS not in self.without:
                return self._with(state, relay, number, Row("delivered", 0, 0, row.received), None)
            return self._with(state, relay, number, row, None)._replace(broken=Rule.SUCCESS_COUNTS_ALWAYS.value)
        if not is_own and Rule.RESULT_NEEDS_LEASE not in self.without:
            return self._with(state, relay, number, row, None)
        after = self._with(state, relay, number, Row("pending", 1, 0, row.received), None)
        # Whoever holds the row now, or the end that it already has, is overwritten.
        overwrites = not is_own and (row.token or row.status == "delivered")
        return after._replace(broken=Rule.RESULT_NEEDS_LEASE.value) if overwrites else after

    def _of_receivers(self, state: State) -> Iterator[tuple[str, State]]:
        """What was sent arrives, whatever became of its relay."""
        for relay in range(self.relays):
            for is_frozen in (False, True):
                attempts = (state.frozen if is_frozen else state.relays)[relay]
                for number, one in enumerate(attempts or ()):
                    if one is None or one.phase != "sent":
                        continue
                    row = state.rows[number]
                    taken = row._replace(received=min(3, row.received + 1))
                    yes, no = one._replace(phase="taken"), one._replace(phase="refused")
                    yield f"take {number} of {relay}", self._with(state, relay, number, taken, yes, is_frozen)
                    if state.hurts:
                        refused = self._with(state, relay, number, row, no, is_frozen)
                        yield f"refuse {number} of {relay}", refused._replace(hurts=state.hurts - 1)
                        lost = self._with(state, relay, number, taken, one._replace(phase="lost"), is_frozen)
                        yield f"lose the answer {number} of {relay}", lost._replace(hurts=state.hurts - 1, hurt=True)

    def _crashed(self, state: State, relay: int) -> State:
        idle: tuple[Attempt | None, ...] = (None,) * self.number
        crashed = state._replace(relays=_put(state.relays, relay, idle), hurts=state.hurts - 1, hurt=True)
        return _with_small_tokens(crashed)

    def _stalled(self, state: State, relay: int) -> State:
        return state._replace(
            relays=_put(state.relays, relay, None),
            frozen=_put(state.frozen, relay, state.relays[relay]),
            hurts=state.hurts - 1,
            hurt=True,
        )

    def _resumed(self, state: State, relay: int) -> State:
        return state._replace(
            relays=_put(state.relays, relay, state.frozen[relay]), frozen=_put(state.frozen, relay, None)
        )

    @staticmethod
    def _with(
        state: State, relay: int, number: int, row: Row, attempt: Attempt | None, is_frozen: bool = False
    ) -> State:
        rows = _put(state.rows, number, row)
        attempts = (state.frozen if is_frozen else state.relays)[relay]
        assert attempts is not None
        changed = _put(attempts, number, attempt)
        if is_frozen:
            return _with_small_tokens(state._replace(rows=rows, frozen=_put(state.frozen, relay, changed)))
        return _with_small_tokens(state._replace(rows=rows, relays=_put(state.relays, relay, changed)))


def _one_tick_later(state: State) -> State:
    def attempts(those: tuple[Attempt | None, ...] | None) -> tuple[Attempt | None, ...] | None:
        if those is None:
            return None
        return tuple(
            one and one._replace(until=max(one.until - 1, -1), age=min(one.age + (one.phase != "leased"), TIMEOUT))
            for one in those
        )

    return state._replace(
        rows=tuple(row._replace(due=max(row.due - 1, 0)) for row in state.rows),
        relays=tuple(attempts(those) for those in state.relays),
        frozen=tuple(attempts(those) for those in state.frozen),
    )


def _tokens(state: State) -> set[int]:
    held = {one.token for those in (*state.relays, *state.frozen) for one in those or () if one is not None}
    return held | {row.token for row in state.rows if row.token}


def _next_token(state: State) -> int:
    return max(_tokens(state), default=0) + 1


def _with_small_tokens(state: State) -> State:
    """The same with the tokens numbered from 1: only whether two are the same matters."""
    small = {token: number for number, token in enumerate(sorted(_tokens(state)), 1)}
    if all(token == number for token, number in small.items()):
        return state

    def attempts(those: tuple[Attempt | None, ...] | None) -> tuple[Attempt | None, ...] | None:
        return those and tuple(one and one._replace(token=small[one.token]) for one in those)

    return state._replace(
        rows=tuple(row._replace(token=small.get(row.token, 0)) for row in state.rows),
        relays=tuple(attempts(those) for those in state.relays),
        frozen=tuple(attempts(those) for those in state.frozen),
    )


def _put(values: tuple[T, ...], index: int, value: T) -> tuple[T, ...]:
    return (*values[:index], value, *values[index + 1 :])


def without(model: Deliveries, rule: Rule) -> Deliveries:
    """The model without one rule."""
    return replace(model, without=frozenset([rule]))


RULES = frozenset(
    {
        Rule.LEASE_ONLY_DUE,
        Rule.LEASE_EXPIRES,
        Rule.LEASE_OUTLASTS_ATTEMPT,
        Rule.RESULT_NEEDS_LEASE,
        Rule.SUCCESS_COUNTS_ALWAYS,
        Rule.ATTEMPT_BEFORE_RESULT,
    }
)
"""The rules that can be taken out of this model."""

"""The clock of a store: on PostgreSQL the database's, however wrong the clock of a relay's machine is."""

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import HOUR, MINUTE, SECOND, Instant
from relay.process import monotonic_ms, system_clock
from relay.store.engine.clock import PATIENCE, DatabaseClock, MachineClock
from relay.store.engine.database import Store
from tests.conftest import NOON, Clock

Wait = st.integers(0, 20_000)
Jump = st.sampled_from([0, 0, 0, -HOUR, 5 * MINUTE])


class Two:
    """A database and a machine, whose clocks differ, and a relay on that machine."""

    def __init__(self, apart: int) -> None:
        self.database, self.machine = Clock(NOON), Clock(NOON + apart)
        self.clock = DatabaseClock(self.machine)

    def wait(self, ms: int) -> Instant:
        """Time passes. Returns what the database's clock says."""
        self.machine.advance(ms)
        return self.database.advance(ms)

    def set(self, there: int, back: int) -> None:
        """The relay asks; question and answer take so long."""

        def ask() -> Instant:
            said = self.wait(there)
            self.wait(back)
            return said

        self.clock.sync(ask)

    @property
    def off(self) -> int:
        return abs(self.clock() - self.database())


@given(st.integers(-(10**12), 10**12), st.lists(st.tuples(Wait, Jump, Wait, Wait), min_size=1, max_size=20))
def test_clock_error_is_at_most_the_delay_of_the_answer(apart: int, rounds: list[tuple[int, int, int, int]]) -> None:
    """Whatever the machine's clock shows, and however it jumps between two calls of `sync`."""
    two = Two(apart)
    for before, jump, there, back in rounds:
        two.wait(before)
        two.machine.advance(jump)
        two.set(there, back)
        assert two.off <= there + back
        two.wait(MINUTE)
        assert two.off <= there + back


@given(st.lists(st.tuples(Wait, Wait, Wait), max_size=20))
def test_slow_answer_does_not_worsen_a_good_clock(rounds: list[tuple[int, int, int]]) -> None:
    """A correct clock stays correct while the machine's clock only runs."""
    two = Two(5 * MINUTE)
    two.set(0, 0)
    for before, there, back in rounds:
        two.wait(before)
        two.set(there, back)
        assert two.off == 0


def test_clock_fails_before_the_first_sync() -> None:
    """It raises instead of returning a wrong time."""
    with pytest.raises(RuntimeError, match="not set yet"):
        DatabaseClock()()


def test_clock_is_monotonic_between_syncs() -> None:
    """It does not use the machine's time of day, which may be set."""
    first = monotonic_ms()
    assert first <= monotonic_ms() < system_clock()


async def test_postgres_store_uses_the_clock_of_its_database(store: Store, store_url: str) -> None:
    """PostgreSQL's clock, whatever the machine's clock does; SQLite uses the machine's."""
    if store.is_exclusive:
        assert abs(store.clock() - system_clock()) < 10 * SECOND
        assert await store.read(store.sync_clock) < SECOND
        return
    machine = Clock(NOON)
    opened = await Store.open(store_url, clock=DatabaseClock(machine))
    with psycopg.connect(store_url) as connection:

        def said() -> Instant:
            [(now,)] = connection.execute("SELECT extract(epoch FROM clock_timestamp()) * 1000").fetchall()
            return int(now)

        before = said()
        machine.advance(-HOUR)
        await opened.read(opened.sync_clock)
        assert before - 1 <= opened.clock() <= said() + 1
        assert abs(store.clock() - said()) < 10 * SECOND
    await opened.aclose()


class Board:
    """A machine whose clock is off by `wrong`."""

    def __init__(self) -> None:
        self.even, self.wrong = Clock(NOON), 0
        self.clock = MachineClock(self.even, lambda: self.even() + self.wrong)
        self.clock.sync(self.clock.machine)

    def set(self, wrong: int) -> int:
        self.wrong = wrong
        return self.clock.sync(self.clock.machine)


@pytest.mark.parametrize("wrong", [-2 * SECOND, -HOUR, -26 * 365 * 24 * HOUR])
def test_machine_clock_behind_the_store_is_ignored(wrong: int) -> None:
    """The clock runs on from the store's time until the machine's is later, or PATIENCE has passed."""
    board = Board()
    board.set(wrong)
    assert board.clock.begin(NOON - SECOND) == -wrong - SECOND
    board.even.advance(MINUTE)
    assert (board.set(wrong), board.clock()) == (0, NOON + MINUTE - SECOND)
    assert board.set(wrong // 2) == 0 or wrong == -2 * SECOND
    board.even.advance(PATIENCE)
    assert board.set(wrong) < 0
    assert board.clock() == board.even() + wrong


@pytest.mark.parametrize("late", [0, 3 * SECOND, 5 * HOUR])
def test_clock_follows_when_the_machine_clock_is_corrected(late: int) -> None:
    """It is corrected by the time the machine was off."""
    board = Board()
    board.set(-5 * HOUR)
    board.clock.begin(NOON - late)
    board.even.advance(4 * SECOND)
    assert (board.set(0), board.clock()) == (late, NOON + 4 * SECOND)
    assert board.set(-HOUR) == -HOUR, "from then on it goes by its machine"


def test_machine_clock_ahead_of_the_store_is_used() -> None:
    """However long the machine was off."""
    board = Board()
    assert board.clock.begin(NOON - 5 * HOUR) == 0
    assert board.clock() == NOON

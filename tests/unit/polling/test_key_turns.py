"""Polls of all API keys take turns."""

from hypothesis import given
from hypothesis import strategies as st

from relay.polling.schedule.key_turns import take_turns

KEYS = st.sampled_from([None, "a", "b", "c"])


def test_each_key_has_one_poll_a_round() -> None:
    """A key with many jobs is served as often as one with few; each key's jobs keep their order."""
    assert take_turns(["a", "a", "a", "b", "a", "c"], {}) == [0, 3, 5, 1, 2, 4]


def test_the_key_served_longest_ago_is_first() -> None:
    """Across rounds too: with one poll a round, no key is first each time."""
    assert take_turns(["a", "b", "c"], {"a": 3, "b": 1}) == [2, 1, 0]


def test_polls_of_one_key_keep_their_order() -> None:
    assert take_turns(["a"] * 5, {"a": 7}) == [0, 1, 2, 3, 4]


@given(st.lists(KEYS), st.dictionaries(KEYS, st.integers(0, 9)))
def test_every_poll_is_in_the_order_once(owners: list[str | None], served: dict[str | None, int]) -> None:
    """And of the first n polls, no key that has more has over one more than another."""
    order = take_turns(owners, served)
    assert sorted(order) == list(range(len(owners)))
    taken: dict[str | None, int] = dict.fromkeys(owners, 0)
    for place in order:
        taken[owners[place]] += 1
        waiting = [taken[owner] for owner in taken if taken[owner] < owners.count(owner)]
        assert max(taken.values()) - min(waiting, default=max(taken.values())) <= 1

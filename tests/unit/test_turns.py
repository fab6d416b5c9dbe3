"""What may start: no endpoint and no host keeps the others waiting, and one that comes back is not met by a herd."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.delivering import BREAKER_OPENS_AT
from relay.model import HOUR, SECOND
from relay.turns import PROBE_WAIT, Due, Traffic

NOW = 1_709_294_400_000


def due(endpoint: str = "ep_a", number: int = 0, **fields: Any) -> Due:
    """The `number`-th due delivery of a healthy endpoint, each on a host of its own."""
    values: dict[str, Any] = {
        "id": f"dlv_{endpoint}_{number}",
        "host": f"{endpoint}:443",
        "endpoint_id": endpoint,
        "next_attempt_at": NOW - 1_000 + number,
        "listens": True,
        "format": "standard",
        "paused_until": None,
        "failures": 0,
    }
    return Due(**{**values, **fields})


def queue(endpoint: str, length: int, **fields: Any) -> list[Due]:
    return [due(endpoint, number, **fields) for number in range(length)]


def started(traffic: Traffic, found: list[Due], now: int = NOW) -> Counter[str]:
    return Counter(one.endpoint_id for one in traffic.choose(found, now).start)


def test_a_long_queue_gets_its_share_and_no_more() -> None:
    """One endpoint with all it can want leaves the rest of its host, and of all connections, to others."""
    traffic = Traffic(10, 4, 3)
    crowd, neighbour, other = queue("ep_a", 50), due("ep_b", host="ep_a:443"), queue("ep_c", 9)
    assert started(traffic, [*crowd, neighbour, *other]) == {"ep_a": 3, "ep_b": 1, "ep_c": 3}
    assert traffic.free == 3


def test_who_has_least_under_way_goes_first() -> None:
    """With one connection left, it is not the oldest queue that gets it but who has none."""
    traffic = Traffic(4, 4, 3)
    crowd = queue("ep_a", 5)
    assert started(traffic, crowd) == {"ep_a": 3}
    traffic.ended(crowd[0])
    late = due("ep_b", next_attempt_at=NOW)
    assert started(traffic, [*crowd[3:], late, due("ep_c", next_attempt_at=NOW)]) == {"ep_b": 1, "ep_c": 1}


def test_endpoints_that_fail_leave_half_of_all_to_the_others() -> None:
    """However many are dead, those that are well find connections."""
    traffic = Traffic(8, 4, 3)
    dead = [due(f"ep_{number}", failures=1) for number in range(20)]
    assert traffic.choose(dead, NOW).start == dead[:4]
    assert started(traffic, [*dead[4:], *queue("ep_well", 3)]) == {"ep_well": 3}


def test_an_open_breaker_lets_one_probe_through_and_then_more_step_by_step() -> None:
    """One at a time until one succeeds; then two, then all that the endpoint may have. A failure halves it."""
    traffic = Traffic(64, 8, 8)
    ill = queue("ep_a", 20, failures=BREAKER_OPENS_AT)
    chosen = traffic.choose(ill, NOW)
    assert (chosen.start, chosen.paused) == (ill[:1], {"ep_a": NOW + PROBE_WAIT})
    traffic.ended(ill[0])
    traffic.learned("ep_a", delivered=True)
    well, done = queue("ep_a", 40), 0
    for allowed in (2, 4, 8):
        some = traffic.choose(well[done:], NOW).start
        assert len(some) == allowed
        done += allowed
        for one in some:
            traffic.ended(one)
        traffic.learned("ep_a", delivered=True)
    traffic.learned("ep_a", delivered=False)
    assert started(traffic, well[done:]) == {"ep_a": 4}


def test_a_paused_endpoint_and_a_deaf_one_start_nothing() -> None:
    """What waits for a pause, and what nobody hears, is told apart; a pause that is over is none."""
    traffic = Traffic(64, 4, 3)
    found = [due("ep_a", paused_until=NOW + 9), due("ep_b", listens=False), due("ep_c", paused_until=NOW)]
    chosen = traffic.choose(found, NOW)
    assert (chosen.start, chosen.paused, chosen.deaf) == ([found[2]], {"ep_a": NOW + 9}, {"ep_b"})


@pytest.mark.parametrize(("format", "gap"), [("slack", SECOND), ("zapier", 40)])
def test_a_rate_is_kept(format: str, gap: int) -> None:
    """Slack takes one a second and Zapier 25, of each endpoint: the rest is told when to come again."""
    traffic = Traffic(64, 9, 9)
    found = [*queue("ep_a", 5, format=format), *queue("ep_b", 2, format=format)]
    first = traffic.choose(found, NOW)
    assert (Counter(one.endpoint_id for one in first.start), first.next_slot) == ({"ep_a": 1, "ep_b": 1}, NOW + gap)
    assert started(traffic, found[1:5], NOW + gap - 1) == {}
    assert started(traffic, found[1:5], NOW + gap) == {"ep_a": 1}
    assert started(traffic, found[2:5], NOW - HOUR) == {"ep_a": 1}, "the clock was set back, and the slot with it"


def test_more_is_claimed_than_may_be_on_the_wire_of_who_is_well() -> None:
    """With as much again to claim ahead: twice as many of a host and an endpoint, but not where one fails or has a
    rate, and of all that fail together no more than before."""
    traffic = Traffic(8, 4, 3, ahead=8)
    assert (traffic.free, traffic.most_of_one) == (16, 6)
    assert started(traffic, [*queue("ep_a", 50), *queue("ep_b", 50, host="ep_a:443")]) == {"ep_a": 4, "ep_b": 4}
    assert started(traffic, queue("ep_c", 50, failures=1)) == {"ep_c": 3}
    assert started(traffic, queue("ep_d", 50, failures=1)) == {"ep_d": 1}
    traffic.learned("ep_e", delivered=False)
    assert started(traffic, queue("ep_e", 50)) == {"ep_e": 1}
    traffic = Traffic(8, 4, 3, ahead=8)
    assert started(traffic, queue("ep_f", 50, format="slack")) == {"ep_f": 1}


def test_nothing_is_claimed_ahead_while_nothing_ends() -> None:
    """What waited in vain is left to other relays; each attempt that ends lets two more be claimed, up to all."""
    traffic = Traffic(4, 4, 4, ahead=6)
    traffic.waited_in_vain()
    assert (started(traffic, queue("ep_a", 50)), traffic.most_of_one) == ({"ep_a": 4}, 4)
    for more in (2, 4, 6, 6):
        traffic.learned("ep_a", delivered=True)
        assert traffic.free == more


@pytest.mark.parametrize(("format", "gap"), [("slack", SECOND), ("zapier", 40)])
def test_the_turn_of_another_relay_is_kept(format: str, gap: int) -> None:
    """Where another one has just called, this one may when its turn comes; where there is no rate, at once."""
    traffic = Traffic(64, 9, 9)
    found = [due("ep_a", format=format, next_turn_at=NOW + 9), due("ep_b", next_turn_at=None)]
    chosen = traffic.choose(found, NOW)
    assert (chosen.start, chosen.next_slot, found[0].gap) == ([found[1]], NOW + 9, gap)
    assert started(traffic, found[:1], NOW + 9) == {"ep_a": 1}


@pytest.mark.parametrize(("left", "wait"), [(PROBE_WAIT - 1, PROBE_WAIT - 1), (3 * PROBE_WAIT, PROBE_WAIT)])
def test_what_waits_for_another_relay_s_probe_waits_without_being_due(left: int, wait: int) -> None:
    """Until it must have ended, and not for long: it may end sooner."""
    ill = due(failures=BREAKER_OPENS_AT, next_turn_at=NOW + left)
    assert Traffic(64, 8, 8).choose([ill], NOW).paused == {"ep_a": NOW + wait}
    assert started(Traffic(64, 8, 8), [ill], NOW + left) == {"ep_a": 1}


ENDPOINTS = st.sampled_from([f"ep_{number}" for number in range(6)])


@given(
    st.lists(st.tuples(ENDPOINTS, st.integers(0, 2), st.sampled_from([0, 0, 1, 10])), max_size=60),
    st.integers(1, 12),
    st.integers(1, 5),
    st.integers(0, 3),
    st.data(),
)
def test_no_limit_is_ever_passed(
    wanted: list[tuple[str, int, int]], concurrency: int, per_host: int, times: int, data: st.DataObject
) -> None:
    """Whatever is due and whatever ends in between: never more at once than allowed; and where there is room, work."""
    traffic = Traffic(concurrency, per_host, per_endpoint := max(1, per_host - 1), times * concurrency)
    concurrency, per_host, per_endpoint = (most * (1 + times) for most in (concurrency, per_host, per_endpoint))
    left = [due(id, n, host=f"h{host}", failures=failures) for n, (id, host, failures) in enumerate(wanted)]
    under_way: list[Due] = []
    while left:
        chosen = traffic.choose(left, NOW).start
        under_way += chosen
        left = [one for one in left if one not in chosen]
        assert len(under_way) == concurrency - traffic.free <= concurrency
        assert max(Counter(one.host for one in under_way).values()) <= per_host
        assert max(Counter(one.endpoint_id for one in under_way).values()) <= per_endpoint
        ended = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
        traffic.ended(ended)
        traffic.learned(ended.endpoint_id, data.draw(st.booleans()))

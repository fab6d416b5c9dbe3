"""Admission control: no endpoint and no host delays the others, and one that comes back is not flooded."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.delivery.admission import PROBE_WAIT, SKIP_FOR, AdmissionControl, Reservation, min_interval, site_of
from relay.delivery.endpoint_health import BREAKER_OPENS_AT
from relay.model import HOUR, SECOND, DueDelivery
from relay.store.tables.outbox import Lease

NOW = 1_709_294_400_000


def due(endpoint: str = "ep_a", number: int = 0, **fields: Any) -> DueDelivery:
    """The `number`-th due delivery of a healthy endpoint, each endpoint on a host of its own."""
    values: dict[str, Any] = {
        "id": f"dlv_{endpoint}_{number}",
        "host": f"{endpoint}:443",
        "endpoint_id": endpoint,
        "next_attempt_at": NOW - 1_000 + number,
        "endpoint_enabled": True,
        "format": "standard",
        "paused_until": None,
        "failures": 0,
    }
    return DueDelivery(**{**values, **fields})


def queue(endpoint: str, length: int, **fields: Any) -> list[DueDelivery]:
    return [due(endpoint, number, **fields) for number in range(length)]


def started(admission: AdmissionControl, deliveries: list[DueDelivery], now: int = NOW) -> Counter[str]:
    return Counter(delivery.endpoint_id for delivery in admission.admit(deliveries, now).start)


def test_a_long_queue_gets_only_its_own_slots() -> None:
    """One endpoint with more than it can use leaves the other slots of its host, and of the relay, to others."""
    admission = AdmissionControl(10, 4, 3)
    crowd, neighbour, other = queue("ep_a", 50), due("ep_b", host="ep_a:443"), queue("ep_c", 9)
    assert started(admission, [*crowd, neighbour, *other]) == {"ep_a": 3, "ep_b": 1, "ep_c": 3}
    assert admission.free == 3


def test_the_endpoint_with_fewest_in_flight_goes_first() -> None:
    """The last slot goes to an endpoint with nothing in flight, not to the oldest queue."""
    admission = AdmissionControl(4, 4, 3)
    crowd = queue("ep_a", 5)
    assert started(admission, crowd) == {"ep_a": 3}
    finish(admission, crowd[0])
    late = due("ep_b", next_attempt_at=NOW)
    assert started(admission, [*crowd[3:], late, due("ep_c", next_attempt_at=NOW)]) == {"ep_b": 1, "ep_c": 1}


def test_unproven_endpoints_use_at_most_half_of_all_slots() -> None:
    """Hundreds of new URLs that never answer, each on its own host: proven endpoints get slots at once."""
    admission = AdmissionControl(10, 4, 3)
    fresh = [due(f"ep_{n}", host=f"host-{n}.acme.example:443", is_proven=False) for n in range(200)]
    assert sum(started(admission, fresh).values()) == 4, "one site"
    elsewhere = [due(f"ep_x{n}", host=f"site-{n}.com:443", is_proven=False) for n in range(200)]
    assert sum(started(admission, elsewhere).values()) == 1
    assert started(admission, [*fresh, *elsewhere, due("ep_ok"), due("ep_fails", failures=1)]) == {"ep_ok": 1}
    assert admission.admit_new([elsewhere[7]]) == []
    assert len(admission.admit_new(queue("ep_new", 9))) == 3


def test_ports_of_one_unproven_address_share_slots() -> None:
    """200 silent ports of a host hold as many slots as one port; proven endpoints are counted by port."""
    admission = AdmissionControl(64, 4, 3)
    silent = [due(f"ep_{n}", host=f"192.0.2.1:{20_000 + n}", is_proven=False) for n in range(200)]
    assert sum(started(admission, silent).values()) == 4
    proven = [due(f"ep_p{n}", host=f"192.0.2.1:{30_000 + n}") for n in range(8)]
    assert sum(started(admission, proven).values()) == 8
    finish(admission, silent[0])
    assert sum(started(admission, silent[4:]).values()) == 1


def test_one_key_leaves_slots_of_those_that_never_succeeded_to_other_keys() -> None:
    """One key's hundreds of silent hosts take half of that half, and two keys a third each: the next finds slots."""
    admission = AdmissionControl(64, 4, 3)

    def silent(key: str) -> list[DueDelivery]:
        return [due(f"ep_{key}{n}", host=f"{key}{n}.com:443", is_proven=False, owner=key) for n in range(200)]

    first = silent("a")
    assert sum(started(admission, first).values()) == 16
    assert sum(started(admission, silent("b")).values()) == 8
    assert sum(started(admission, silent("c")).values()) == 4
    for one in first[:16]:
        finish(admission, one)
    assert sum(started(admission, [*first[16:], *silent("c")]).values()) == 13, "freed slots are shared again"
    assert len(admission.admit_new([due("ep_new", is_proven=False, owner="d")])) == 1


def test_one_key_leaves_slots_to_others_though_its_endpoints_succeeded() -> None:
    """Hosts that answer once and then fall silent are not known to fail: one slot in eight stays free of one key's."""
    admission = AdmissionControl(64, 4, 3)
    turned = [due(f"ep_{n}", owner="a") for n in range(200)]
    assert sum(started(admission, turned).values()) == 56
    assert len(admission.admit_new([due("ep_new", owner="b"), due("ep_fresh", owner="b", is_proven=False)])) == 2
    assert started(admission, queue("ep_standing", 3)) == {"ep_standing": 3}


def test_one_key_leaves_a_slot_of_a_host_to_others() -> None:
    """On a host that many share, paths that never answer, or no longer do, leave slots to paths of other keys."""
    admission = AdmissionControl(64, 4, 3)
    turned = [due(f"ep_{n}", host="shared:443", owner="a") for n in range(9)]
    assert sum(started(admission, turned).values()) == 3
    assert started(admission, [due("ep_standing", host="shared:443")]) == {"ep_standing": 1}
    silent = [due(f"ep_x{n}", host="other:443", owner="a", is_proven=False) for n in range(9)]
    assert sum(started(admission, silent).values()) == 1
    fresh = due("ep_fresh", host="other:443", owner="b", is_proven=False)
    assert started(admission, [fresh, *queue("ep_ok", 9, host="other:443")]) == {"ep_fresh": 1, "ep_ok": 2}


@pytest.mark.parametrize("concurrency", [1, 2, 3])
def test_a_key_alone_uses_few_slots_whole(concurrency: int) -> None:
    """With hardly any slots there is nothing to keep for others."""
    admission = AdmissionControl(concurrency, 1, 1)
    some = [due(f"ep_{n}", owner="a") for n in range(9)]
    assert sum(started(admission, some).values()) == concurrency


@pytest.mark.parametrize(
    ("host", "site"),
    [
        ("hooks.example.com:443", "example.com"),
        ("example.com:8443", "example.com"),
        ("a.b.example.co.uk:443", "example.co.uk"),
        ("example.de:443", "example.de"),
        ("www.example.de:443", "example.de"),
        ("localhost:8080", "localhost"),
        ("192.0.2.1:443", "192.0.2.1"),
        ("[2001:db8::1]:443", "2001:db8::"),
        ("[2001:db8::2]:8443", "2001:db8::"),
    ],
)
def test_site_of_ignores_ports_and_subdomains(host: str, site: str) -> None:
    """All ports of an address and all names of a domain are one site."""
    assert site_of(host) == site


def test_failing_endpoints_use_at_most_half_of_all_slots() -> None:
    """Any number of failing endpoints leaves slots to healthy ones."""
    admission = AdmissionControl(8, 4, 3)
    dead = [due(f"ep_{number}", failures=1) for number in range(20)]
    assert admission.admit(dead, NOW).start == dead[:4]
    assert started(admission, [*dead[4:], *queue("ep_well", 3)]) == {"ep_well": 3}


def test_an_open_breaker_admits_one_probe_then_doubles() -> None:
    """One at a time until one succeeds; then two, then all of the endpoint's slots. A failure halves them."""
    admission = AdmissionControl(64, 8, 8)
    failing = queue("ep_a", 20, failures=BREAKER_OPENS_AT)
    admitted = admission.admit(failing, NOW)
    assert (admitted.start, admitted.paused) == (failing[:1], {"ep_a": NOW + PROBE_WAIT})
    finish(admission, failing[0])
    admission.record_result("ep_a", delivered=True)
    well, done = queue("ep_a", 40), 0
    for allowed in (2, 4, 8):
        some = admission.admit(well[done:], NOW).start
        assert len(some) == allowed
        done += allowed
        for one in some:
            finish(admission, one)
        admission.record_result("ep_a", delivered=True)
    admission.record_result("ep_a", delivered=False)
    assert started(admission, well[done:]) == {"ep_a": 4}


def test_paused_and_disabled_endpoints_start_nothing() -> None:
    """Paused and disabled endpoints are reported separately; a pause that is over does not count."""
    admission = AdmissionControl(64, 4, 3)
    deliveries = [due("ep_a", paused_until=NOW + 9), due("ep_b", endpoint_enabled=False), due("ep_c", paused_until=NOW)]
    admitted = admission.admit(deliveries, NOW)
    assert (admitted.start, admitted.paused, admitted.disabled) == ([deliveries[2]], {"ep_a": NOW + 9}, {"ep_b"})


@pytest.mark.parametrize(("format", "gap"), [("slack", SECOND), ("zapier", 40)])
def test_rate_limits_of_formats_are_respected(format: str, gap: int) -> None:
    """Slack takes one a second and Zapier 25, for each endpoint: the rest waits for the next slot."""
    admission = AdmissionControl(64, 9, 9)
    deliveries = [*queue("ep_a", 5, format=format), *queue("ep_b", 2, format=format)]
    first = admission.admit(deliveries, NOW)
    assert (Counter(one.endpoint_id for one in first.start), first.next_slot_at) == ({"ep_a": 1, "ep_b": 1}, NOW + gap)
    assert started(admission, deliveries[1:5], NOW + gap - 1) == {}
    assert started(admission, deliveries[1:5], NOW + gap) == {"ep_a": 1}
    assert started(admission, deliveries[2:5], NOW - HOUR) == {"ep_a": 1}, (
        "the clock was set back, and the slot with it"
    )


@pytest.mark.parametrize(("format", "gap"), [("slack", SECOND), ("zapier", 40)])
def test_a_rate_limit_slot_of_another_relay_is_respected(format: str, gap: int) -> None:
    """After a call of another relay this one waits for the next slot; without a rate limit it starts at once."""
    admission = AdmissionControl(64, 9, 9)
    deliveries = [due("ep_a", format=format, next_slot_at=NOW + 9), due("ep_b", next_slot_at=None)]
    admitted = admission.admit(deliveries, NOW)
    assert (admitted.start, admitted.next_slot_at, min_interval(deliveries[0])) == ([deliveries[1]], NOW + 9, gap)
    assert started(admission, deliveries[:1], NOW + 9) == {"ep_a": 1}


@pytest.mark.parametrize(("left", "wait"), [(PROBE_WAIT - 1, PROBE_WAIT - 1), (3 * PROBE_WAIT, PROBE_WAIT)])
def test_deliveries_wait_while_another_relay_probes(left: int, wait: int) -> None:
    """They wait until that probe must have ended, but at most `PROBE_WAIT`, because it may end sooner."""
    failing = due(failures=BREAKER_OPENS_AT, next_slot_at=NOW + left)
    assert AdmissionControl(64, 8, 8).admit([failing], NOW).paused == {"ep_a": NOW + wait}
    assert started(AdmissionControl(64, 8, 8), [failing], NOW + left) == {"ep_a": 1}


def test_a_delivery_in_flight_is_not_admitted_again() -> None:
    """Not even after its lease expired and its slot is free: its result is not recorded yet."""
    admission = AdmissionControl(8, 4, 4)
    one = due()
    assert admission.admit([one], NOW).start == [one]
    assert not admission.admit([one], NOW)
    admission.release(one)
    assert not admission.admit([one], NOW)
    admission.recorded(one)
    assert admission.admit([one], NOW).start == [one]


def test_deliveries_held_by_another_relay_are_skipped_for_a_second() -> None:
    """Other deliveries of the endpoint are admitted meanwhile, and the next read is larger by those skipped."""
    admission = AdmissionControl(8, 4, 3)
    some = queue("ep_a", 6)
    for one in admission.admit(some, NOW).start:
        admission.cancel(one)
    admission.skip(some[:3], NOW)
    assert admission.to_scan() == (3 + 3, 8 + 3)
    assert admission.admit(some, NOW + SKIP_FOR - 1).start == some[3:]
    for one in some[3:]:
        finish(admission, one)
    assert admission.admit(some, NOW + SKIP_FOR).start == some[:3]
    for one in some[:3]:
        finish(admission, one)
    admission.skip(some, NOW)
    assert len(admission.admit(some, NOW - HOUR).start) == 3, "the clock was set back"


@pytest.mark.parametrize(
    "unwell", [{"failures": 1}, {"paused_until": NOW + 1}, {"endpoint_enabled": False}, {"format": "slack"}]
)
def test_a_new_delivery_gets_a_slot_only_if_its_endpoint_is_healthy(unwell: dict[str, Any]) -> None:
    """A new delivery of a failing, paused, disabled or rate-limited endpoint waits for the dispatcher's next tick."""
    admission = AdmissionControl(8, 4, 3)
    assert admission.admit_new([due("ep_a", **unwell), due("ep_b")]) == [due("ep_b")]


async def begin_none(_: object) -> None:
    raise AssertionError("nothing was leased")


def test_a_reservation_frees_all_unused_slots() -> None:
    """A transaction that is repeated, fails, or runs after its caller left: all slots are free again."""
    admission = AdmissionControl(8, 4, 3)
    reservation = Reservation(admission, lambda: Lease("own.1", NOW + HOUR), begin_none)
    with reservation:
        for _ in range(3):
            reservation.reset()
            assert len(reservation.lease(queue("ep_a", 9))) == 3
            assert admission.free == 5
    assert admission.free == 8
    reservation.reset()
    assert reservation.lease(queue("ep_a", 9)) == {}
    assert admission.free == 8


def test_a_closed_admission_control_admits_nothing() -> None:
    """After `close` neither due nor new deliveries get a slot."""
    admission = AdmissionControl(8, 4, 3)
    admission.close()
    assert (admission.admit([due()], NOW).start, admission.admit_new([due()])) == ([], [])


def finish(admission: AdmissionControl, one: DueDelivery) -> None:
    admission.release(one)
    admission.recorded(one)


OWNERS = st.sampled_from([None, "a", "b"])
ENDPOINTS = st.sampled_from([f"ep_{number}" for number in range(6)])


@given(
    st.lists(st.tuples(ENDPOINTS, st.integers(0, 2), st.sampled_from([0, 0, 1, 10]), OWNERS), max_size=60),
    st.integers(1, 12),
    st.integers(1, 5),
    st.data(),
)
def test_no_concurrency_limit_is_ever_exceeded(
    wanted: list[tuple[str, int, int, str | None]], concurrency: int, per_host: int, data: st.DataObject
) -> None:
    """Any due deliveries and any order of ends: never more in flight than allowed; and free slots are used."""
    admission = AdmissionControl(concurrency, per_host, per_endpoint := max(1, per_host - 1))
    left = [
        due(id, n, host=f"h{host}", failures=failures, owner=owner, is_proven=failures < 10)
        for n, (id, host, failures, owner) in enumerate(wanted)
    ]
    in_flight: list[DueDelivery] = []
    while left:
        new = [one for one in left if data.draw(st.booleans())]
        admitted = [*admission.admit_new(new), *admission.admit(left, NOW).start]
        in_flight += admitted
        left = [one for one in left if one not in admitted]
        assert len(in_flight) == concurrency - admission.free <= concurrency
        assert max(Counter(one.host for one in in_flight).values()) <= per_host
        assert max(Counter(one.endpoint_id for one in in_flight).values()) <= per_endpoint
        assert sum(one.failures > 0 for one in in_flight) <= max(1, concurrency // 2)
        ended = in_flight.pop(data.draw(st.integers(0, len(in_flight) - 1)))
        finish(admission, ended)
        admission.record_result(ended.endpoint_id, data.draw(st.booleans()))

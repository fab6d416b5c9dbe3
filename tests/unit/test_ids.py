"""Ids: ULIDs with a prefix, which sort by time."""

from relay.model import new_id

AT = 1_469_918_176_385
"""The instant of the example in the specification of ULIDs, 01ARYZ6S41..."""


def test_an_id_is_a_ulid() -> None:
    """Ten digits of time and sixteen of randomness, in Crockford's base 32."""
    assert new_id("evt", AT, bytes(10)) == "evt_01ARYZ6S410000000000000000"
    assert new_id("evt", AT, b"\xff" * 10) == "evt_01ARYZ6S41ZZZZZZZZZZZZZZZZ"
    assert new_id("evt", 2**48 - 1, (1).to_bytes(10, "big")) == "evt_7ZZZZZZZZZ0000000000000001"


def test_ids_sort_by_time() -> None:
    """Whatever their random bytes are."""
    ids = [new_id("reg", at, b"\xff" * 10) for at in (AT, AT + 1, AT + 32, AT + 1_000_000)]
    assert sorted(ids) == ids

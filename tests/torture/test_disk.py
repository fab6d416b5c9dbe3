"""A disk without power keeps what was synced, and any part of the rest."""

import random

import pytest

from tests.torture.disk import SECTOR, Done, Kind, survivors, unpack

SYNC = (Done(Kind.SYNCING, "f"), Done(Kind.SYNCED, "f"))


def written(offset: int, data: bytes, name: str = "f") -> Done:
    return Done(Kind.WRITTEN, name, offset, data)


def left(*done: Done, luck: float = 0.0, before: dict[str, bytes] | None = None) -> dict[str, bytes]:
    return survivors(before or {}, done, luck, random.Random(7))


def test_synced_writes_survive() -> None:
    """With the least luck, nothing that was written after the sync survives."""
    assert left(written(0, b"one"), *SYNC, written(3, b"two")) == {"f": b"one"}
    assert left(written(0, b"one"), *SYNC, written(3, b"two"), luck=1.0) == {"f": b"onetwo"}


def test_writes_during_a_sync_may_be_lost() -> None:
    """A sync covers only what was written before it began, in its own file."""
    during = (written(0, b"a"), Done(Kind.SYNCING, "f"), written(1, b"b"), Done(Kind.SYNCED, "f"))
    assert left(*during) == {"f": b"a"}
    assert left(written(0, b"a"), written(0, b"b", "g"), *SYNC) == {"f": b"a"}


def test_an_unfinished_sync_guarantees_nothing() -> None:
    """The power fails during the sync."""
    assert left(written(0, b"a"), Done(Kind.SYNCING, "f")) == {}


@pytest.mark.parametrize("offset", [0, 100, SECTOR, SECTOR + 1])
def test_sectors_are_written_whole_or_not_at_all(offset: int) -> None:
    """With half of the luck some sectors of a write are old, the others new, and none is mixed."""
    before = {"f": b"-" * 8 * SECTOR}
    after = left(written(offset, b"x" * 6 * SECTOR), luck=0.5, before=before)["f"]
    assert len(after) == 8 * SECTOR
    parts = [after[place : place + SECTOR] for place in range(0, len(after), SECTOR)]
    middle = [part for place, part in enumerate(parts) if offset <= place * SECTOR < offset + 5 * SECTOR]
    assert {part[:1] for part in middle} == {b"x", b"-"}
    assert all(len(set(part)) == 1 for part in middle)


def test_creating_truncating_and_deleting_files_is_replayed() -> None:
    """Each operation survives or does not; a deletion whose folder was synced does."""
    assert left(Done(Kind.MADE, "f")) == {}
    assert left(Done(Kind.MADE, "f"), *SYNC) == {"f": b""}
    assert left(Done(Kind.CUT, "f", 2), before={"f": b"long"}) == {"f": b"long"}
    assert left(Done(Kind.CUT, "f", 2), luck=1.0, before={"f": b"long"}) == {"f": b"lo"}
    assert left(Done(Kind.GONE, "f"), before={"f": b"x"}) == {"f": b"x"}
    assert left(Done(Kind.GONE, "f", 1), before={"f": b"x"}) == {}


def test_recorded_operations_are_read_back_unchanged() -> None:
    """All but the one that the kill cut off."""
    done = [written(7, b"data"), Done(Kind.CUT, "größe", 2**40), *SYNC]
    packed = b"".join(one.packed() for one in done)
    assert list(unpack(packed)) == done
    assert list(unpack(packed[:-1])) == done[:-1]

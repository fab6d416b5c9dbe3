"""A disk that loses power: what remains of files whose writes and syncs were recorded.

What was synced is there. Of what was written since the last sync any part may be there and any part not, in any order:
a disk writes back when it likes, sector by sector.
"""

import random
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

SECTOR = 512
"""Bytes that a disk writes whole or not at all."""

_HEAD = struct.Struct("<BHQI")


class Kind(IntEnum):
    """What was done to a file."""

    MADE = 1
    WRITTEN = 2
    CUT = 3  # to `offset` bytes
    SYNCING = 4  # what was written before is on its way
    SYNCED = 5  # what was written before SYNCING is there to stay
    GONE = 6  # deleted; `offset` 1: and its folder synced


@dataclass(frozen=True, slots=True)
class Done:
    """One thing done to one file."""

    kind: Kind
    name: str
    offset: int = 0
    data: bytes = b""

    def packed(self) -> bytes:
        name = self.name.encode()
        return _HEAD.pack(self.kind, len(name), self.offset, len(self.data)) + name + self.data


def unpack(journal: bytes) -> Iterator[Done]:
    """The records, in order, without a last one that was cut off."""
    place = 0
    while place + _HEAD.size <= len(journal):
        kind, named, offset, size = _HEAD.unpack_from(journal, place)
        place += _HEAD.size
        if place + named + size > len(journal):
            return
        name = journal[place : place + named].decode()
        yield Done(Kind(kind), name, offset, journal[place + named : place + named + size])
        place += named + size


def survivors(before: Mapping[str, bytes], done: Sequence[Done], luck: float, rng: random.Random) -> dict[str, bytes]:
    """The files after the power cut: `luck` (0 to 1) is the share of unsynced sectors that survived."""
    kept: dict[str, bytearray] = {name: bytearray(data) for name, data in before.items()}
    waiting: dict[str, list[Done]] = defaultdict(list)
    syncing: dict[str, int] = {}
    for one in done:
        if one.kind is Kind.SYNCING:
            syncing[one.name] = len(waiting[one.name])
        elif one.kind is Kind.SYNCED:
            number = syncing.pop(one.name)
            for earlier in waiting[one.name][:number]:
                _apply(kept, earlier)
            kept.setdefault(one.name, bytearray())
            del waiting[one.name][:number]
        elif one.kind is Kind.GONE and one.offset:
            kept.pop(one.name, None)
            waiting.pop(one.name, None)
        else:
            waiting[one.name].append(one)
    for name in waiting:
        for one in waiting[name]:
            for part in _sectors(one):
                if rng.random() < luck:
                    _apply(kept, part)
    return {name: bytes(data) for name, data in kept.items()}


def _sectors(one: Done) -> Iterator[Done]:
    """The write in the parts that a disk writes completely or not at all; any other operation is one part."""
    if one.kind is not Kind.WRITTEN:
        yield one
        return
    start = 0
    while start < len(one.data):
        end = min(len(one.data), start + SECTOR - (one.offset + start) % SECTOR)
        yield Done(Kind.WRITTEN, one.name, one.offset + start, one.data[start:end])
        start = end


def _apply(files: dict[str, bytearray], one: Done) -> None:
    match one.kind:
        case Kind.GONE:
            files.pop(one.name, None)
        case Kind.MADE:
            files[one.name] = bytearray()
        case Kind.CUT:
            file = files.setdefault(one.name, bytearray())
            del file[one.offset :]
            file.extend(bytes(one.offset - len(file)))
        case Kind.WRITTEN:
            file = files.setdefault(one.name, bytearray())
            file.extend(bytes(max(0, one.offset - len(file))))
            file[one.offset : one.offset + len(one.data)] = one.data

"""API keys take turns: of the due polls, one of each key after the other, whatever the number of a key's jobs."""

from collections.abc import Hashable, Mapping, Sequence
from itertools import zip_longest
from typing import TypeVar

Owner = TypeVar("Owner", bound=Hashable)


def take_turns(owners: Sequence[Owner], last_turns: Mapping[Owner, int]) -> list[int]:
    """The indexes of `owners`, in turns by owner; those of one owner keep their order.

    `last_turns` says when an owner was last served, as a number that grows; who was not served for longest is first.
    """
    indexes: dict[Owner, list[int]] = {}
    for index, owner in enumerate(owners):
        indexes.setdefault(owner, []).append(index)
    longest_unserved_first = sorted(indexes, key=lambda owner: last_turns.get(owner, -1))
    rounds = zip_longest(*(indexes[owner] for owner in longest_unserved_first))
    return [index for round in rounds for index in round if index is not None]

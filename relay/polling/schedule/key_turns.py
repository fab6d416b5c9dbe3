"""API keys take turns: of the due polls, one of each key after the other, whatever the number of a key's jobs."""

from collections.abc import Hashable, Mapping, Sequence
from itertools import zip_longest
from typing import TypeVar

Owner = TypeVar("Owner", bound=Hashable)


def take_turns(owners: Sequence[Owner], served: Mapping[Owner, int]) -> list[int]:
    """The places of `owners`, in turn by owner, and each owner's in their order.

    `served` says when an owner was last served, as a number that grows; who was not served for longest is first.
    """
    places: dict[Owner, list[int]] = {}
    for place, owner in enumerate(owners):
        places.setdefault(owner, []).append(place)
    longest_unserved_first = sorted(places, key=lambda owner: served.get(owner, -1))
    rounds = zip_longest(*(places[owner] for owner in longest_unserved_first))
    return [place for turn in rounds for place in turn if place is not None]

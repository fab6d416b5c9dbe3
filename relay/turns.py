"""Turns: which due deliveries may start now, so that no endpoint and no host keeps the others waiting.

`Traffic` knows what is under way in this relay; the rest it is told: also when it is the next one's turn at an endpoint
that all relays on the store call in turn, because it is called at a rate, or needs a probe. Times are milliseconds.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from relay import delivering, formats
from relay.model import MINUTE, SECOND, Instant

PROBE_WAIT = 5 * SECOND
"""How long what is due for an endpoint waits while a probe of it is under way."""

_MORE_AHEAD = 2

KEPT = 8
"""One in so many of those under way is kept for what is `urgent`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A due delivery, and what is known of its endpoint."""

    id: str
    host: str
    endpoint_id: str
    next_attempt_at: Instant
    listens: bool
    """Whether the endpoint is there and enabled."""
    format: str
    paused_until: Instant | None
    failures: int
    next_turn_at: Instant | None = None
    """When another relay may begin an attempt at the endpoint, after one that has begun."""
    urgent: bool = False
    """Whether it has only just been made, and is not to wait behind a backlog."""

    @property
    def needs_probe(self) -> bool:
        """Whether this may only be sent while nothing else is under way to its endpoint."""
        return delivering.needs_probe(self.failures)

    @property
    def may_begin(self) -> bool:
        """Whether it waits for nothing but room: its endpoint is well, and relays need not take turns there."""
        return self.listens and self.paused_until is None and not self.failures and self.gap is None

    @property
    def gap(self) -> int | None:
        """How long the next attempt at its endpoint has to wait after this one begins; None: not at all."""
        rate = formats.rate(self.format)
        return round(SECOND / rate) if rate else None


def kept(concurrency: int) -> int:
    """How many of so many attempts are kept for what is urgent."""
    return concurrency // KEPT


@dataclass(slots=True)
class Chosen:
    """What is to become of due deliveries."""

    start: list[Due] = field(default_factory=list)
    """May start; room is kept for each until `Traffic.ended`."""
    paused: dict[str, Instant] = field(default_factory=dict)
    """Endpoints that wait, and until when."""
    deaf: set[str] = field(default_factory=set)
    """Endpoints that are disabled or gone."""
    next_slot: Instant | None = None
    """When the next of those may start that only wait for their endpoint's rate."""

    def __bool__(self) -> bool:
        return bool(self.start or self.paused or self.deaf)


class Traffic:
    """What is under way, and so what may start beside it.

    Of `concurrency` attempts in all, one host has `per_host` at the most and one endpoint `per_endpoint`. Endpoints
    that fail have half of all at the most between them. An endpoint that failed gets fewer at a time, and after a
    success step by step more: one that comes back after an outage is not met by a herd.

    `ahead` more may be claimed, so that the next attempt need not wait for the store: hosts and endpoints have their
    part of them, endpoints that fail or are called at a rate have none. Where they wait in vain, as nothing
    under way ends, none are claimed, and another relay may begin with them; as attempts end, there are more again.
    Beyond those comes what is urgent.
    """

    def __init__(self, concurrency: int, per_host: int, per_endpoint: int, ahead: int = 0) -> None:
        self._concurrency, self._per_host, self._per_endpoint = concurrency, per_host, per_endpoint
        self._most_ahead = self._ahead = ahead
        self._at_host: Counter[str] = Counter()
        self._at_endpoint: Counter[str] = Counter()
        self._under_way = 0
        self._doubtful: set[str] = set()
        self._allowed: dict[str, int] = {}
        self._slots: dict[str, Instant] = {}

    @property
    def free(self) -> int:
        """How many more may be claimed."""
        return self._concurrency + self._ahead - self._under_way

    @property
    def free_urgently(self) -> int:
        """How many more may be claimed of what is urgent."""
        return self.free + kept(self._concurrency)

    @property
    def most_of_one(self) -> int:
        """How many of one endpoint may be claimed."""
        return self._part(self._per_endpoint)

    def choose(self, found: Sequence[Due], now: Instant) -> Chosen:
        """What may start of what is due, least served endpoints first, and keeps room for it."""
        chosen = Chosen()
        # What is further off than any rate asks for was planned before the clock was set back.
        self._slots = {id: at for id, at in self._slots.items() if now < at <= now + MINUTE}
        for due in self._in_turn(found):
            if not due.listens:
                chosen.deaf.add(due.endpoint_id)
            elif (until := self._pause(due, now)) is not None:
                chosen.paused[due.endpoint_id] = until
            elif self._has_room(due):
                if (slot := max(self._slots.get(due.endpoint_id, 0), due.next_turn_at or 0)) > now:
                    chosen.next_slot = min(slot, chosen.next_slot or slot)
                else:
                    self._start(due, now)
                    chosen.start.append(due)
        return chosen

    def ended(self, due: Due) -> None:
        """An attempt that was chosen is over, or was not made."""
        self._under_way -= 1
        self._doubtful.discard(due.id)
        for counts, key in ((self._at_host, due.host), (self._at_endpoint, due.endpoint_id)):
            counts[key] -= 1
            if counts[key] <= 0:
                del counts[key]

    def learned(self, endpoint_id: str, delivered: bool) -> None:
        """How an attempt ended: half as many at a time after a failure, twice as many after a success."""
        self._ahead = min(self._ahead + _MORE_AHEAD, self._most_ahead)
        allowed = self._allowed.get(endpoint_id, self._per_endpoint)
        if not delivered:
            self._allowed[endpoint_id] = max(1, allowed // 2)
        elif allowed * 2 < self._per_endpoint:
            self._allowed[endpoint_id] = allowed * 2
        else:
            self._allowed.pop(endpoint_id, None)

    def waited_in_vain(self) -> None:
        """What was claimed ahead could not begin soon, and was given back."""
        self._ahead = 0

    def _part(self, most: int) -> int:
        """Of what may be claimed, in the proportion of what may be under way."""
        return most * (self._concurrency + self._ahead) // self._concurrency

    def _in_turn(self, found: Sequence[Due]) -> list[Due]:
        """First who has the fewest under way, then who waits longest."""
        ahead = Counter(self._at_endpoint)
        ranked = []
        for due in found:
            ranked.append((ahead[due.endpoint_id], due))
            ahead[due.endpoint_id] += 1
        ranked.sort(key=lambda one: (one[0], one[1].next_attempt_at))
        return [due for _, due in ranked]

    def _pause(self, due: Due, now: Instant) -> Instant | None:
        if due.paused_until is not None and due.paused_until > now:
            return due.paused_until
        if not due.needs_probe:
            return None
        if self._at_endpoint[due.endpoint_id]:
            return now + PROBE_WAIT
        if due.next_turn_at is not None and due.next_turn_at > now:
            return min(due.next_turn_at, now + PROBE_WAIT)
        return None

    def _has_room(self, due: Due) -> bool:
        free = self.free_urgently if due.urgent else self.free
        if free <= 0 or self._at_host[due.host] >= self._part(self._per_host):
            return False
        if due.failures and len(self._doubtful) >= max(1, self._concurrency // 2):
            return False
        return self._at_endpoint[due.endpoint_id] < self._most_of(due)

    def _most_of(self, due: Due) -> int:
        if due.failures or due.gap:
            return self._allowed.get(due.endpoint_id, self._per_endpoint)
        return self._allowed.get(due.endpoint_id, self.most_of_one)

    def _start(self, due: Due, now: Instant) -> None:
        self._under_way += 1
        self._at_host[due.host] += 1
        self._at_endpoint[due.endpoint_id] += 1
        if due.failures:
            self._doubtful.add(due.id)
        if due.gap:
            self._slots[due.endpoint_id] = now + due.gap
        if due.needs_probe:
            self._allowed[due.endpoint_id] = 1

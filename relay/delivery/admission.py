"""Admission control: which due deliveries may begin now, so that no endpoint and no host delays the others.

A delivery is leased only after it has a slot, and keeps the slot until its attempt ends: whatever is leased begins.
"""

import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from relay import formats
from relay.delivery.endpoint_health import circuit_is_open
from relay.model import MINUTE, SECOND, DueDelivery, Endpoint, Instant
from relay.security import client_network
from relay.store.tables.outbox import Lease, Leased, LeasedDelivery

PROBE_WAIT = 5 * SECOND
"""How long the due deliveries of an endpoint wait while a probe of it is in flight."""

SKIP_FOR = SECOND
"""How long a delivery is left out after its row could not be leased, because another relay holds it."""

_RESERVE = 8
"""One slot in so many is reserved for deliveries of other API keys."""

Slots = tuple[str, ...]
"""The key of a count of slots: its kind, and its subject, such as ("host", "example.com:443")."""

_RELAY: Slots = ("relay",)
_UNRELIABLE: Slots = ("unreliable",)

Start = Callable[[Iterable[tuple[LeasedDelivery, Endpoint, DueDelivery]]], Awaitable[None]]
"""Starts the attempts of leased deliveries that have a slot."""


@dataclass(slots=True)
class Admitted:
    """The decision about due deliveries: which begin now, and which wait."""

    start: list[DueDelivery] = field(default_factory=list)
    """Deliveries that begin now. Each has a slot, which `release` or `cancel` frees."""
    paused: dict[str, Instant] = field(default_factory=dict)
    """By id of the endpoint, until when its deliveries wait."""
    disabled: set[str] = field(default_factory=set)
    """Ids of endpoints that are disabled or deleted."""
    ungathered: list[DueDelivery] = field(default_factory=list)
    """Deliveries of whose endpoints a digest is due."""
    next_slot_at: Instant | None = None
    """When the first delivery may begin that waits for its endpoint's rate limit only."""

    def __bool__(self) -> bool:
        return bool(self.start or self.paused or self.disabled or self.ungathered)


class AdmissionControl:
    """The slots of this relay.

    Of `concurrency` attempts at once, one host has `per_host` at most and one endpoint `per_endpoint`. Endpoints that
    fail, and those that never succeeded, share at most half of all slots, and half of those of a host. One API key gets
    seven slots in eight, all but one of a host, and of each half only as many as it leaves free. So registrations of
    many URLs that do not answer delay the deliveries of no other API key. A failure halves the slots of an endpoint, a
    success doubles them: an endpoint that comes back after an outage is not flooded.

    The event loop and the store's threads use it. A lock guards it, and nothing waits while holding the lock.
    """

    def __init__(self, concurrency: int, per_host: int, per_endpoint: int) -> None:
        self.concurrency, self.per_host, self.per_endpoint = concurrency, per_host, per_endpoint
        self._lock = threading.Lock()
        self._used: Counter[Slots] = Counter()
        self._in_flight: dict[str, list[Slots]] = {}
        """The counts in which a delivery uses a slot, by its id, until its result is recorded: none of them is leased
        again before that."""
        self._allowed: dict[str, int] = {}
        self._next_slot: dict[str, Instant] = {}
        self._skipped: dict[str, tuple[Instant, str]] = {}
        self._closed = False
        self.suspended = False
        """Whether no attempt begins for now, because sending is suspended."""

    @property
    def free(self) -> int:
        """The number of further attempts that may begin."""
        return self.concurrency - self._used[_RELAY]

    @property
    def in_flight(self) -> int:
        """The number of deliveries whose results are not recorded."""
        return len(self._in_flight)

    def admit(self, due: Sequence[DueDelivery], now: Instant) -> Admitted:
        """Acquires slots for the deliveries that may begin; endpoints with the fewest attempts in flight come first."""
        with self._lock:
            admitted = Admitted()
            if self._closed or self.suspended:
                return admitted
            self._skipped = {id: skip for id, skip in self._skipped.items() if now < skip[0] <= now + SKIP_FOR}
            # No rate limit needs a slot this far ahead: it is from before the clock was set back.
            self._next_slot = {id: at for id, at in self._next_slot.items() if now < at <= now + MINUTE}
            for delivery in self._least_served_first(due):
                self._admit(delivery, now, admitted)
            return admitted

    def admit_new(self, due: Iterable[DueDelivery]) -> list[DueDelivery]:
        """Acquires slots for new deliveries whose endpoints are healthy and have no rate limit."""
        with self._lock:
            admitted: list[DueDelivery] = []
            if self._closed or self.suspended:
                return admitted
            for delivery in due:
                is_healthy = delivery.endpoint_enabled and delivery.paused_until is None and not delivery.failures
                if is_healthy and min_interval(delivery) is None and self._acquire(delivery):
                    admitted.append(delivery)
            return admitted

    def release(self, due: DueDelivery) -> None:
        """Frees the slot of an attempt that ended."""
        with self._lock:
            for slots in self._in_flight[due.id]:
                self._used[slots] -= 1
                if self._used[slots] <= 0:
                    del self._used[slots]
            self._in_flight[due.id] = []

    def recorded(self, due: DueDelivery) -> None:
        """Lets a delivery be leased again: its result is stored, or never will be."""
        with self._lock:
            self._in_flight.pop(due.id, None)

    def cancel(self, due: DueDelivery) -> None:
        """Frees the slot of an attempt that is not made."""
        self.release(due)
        self.recorded(due)

    def skip(self, unleased: Iterable[DueDelivery], now: Instant) -> None:
        """Leaves deliveries out for `SKIP_FOR`, because another relay holds their rows."""
        with self._lock:
            self._skipped |= {due.id: (now + SKIP_FOR, due.endpoint_id) for due in unleased}

    def to_scan(self) -> tuple[int, int]:
        """How many due deliveries to read, of one endpoint and in all: as many as fit, and those that are left out."""
        with self._lock:
            skipped = Counter(endpoint_id for _, endpoint_id in self._skipped.values())
            return self.per_endpoint + max(skipped.values(), default=0), self.free + skipped.total()

    def record_result(self, endpoint_id: str, delivered: bool) -> None:
        """Gives the endpoint half as many slots after a failed attempt, twice as many after a success."""
        with self._lock:
            allowed = self._allowed.get(endpoint_id, self.per_endpoint)
            if not delivered:
                self._allowed[endpoint_id] = max(1, allowed // 2)
            elif allowed * 2 < self.per_endpoint:
                self._allowed[endpoint_id] = allowed * 2
            else:
                self._allowed.pop(endpoint_id, None)

    def close(self) -> None:
        """From now on no attempt begins."""
        with self._lock:
            self._closed = True

    def _least_served_first(self, due: Sequence[DueDelivery]) -> list[DueDelivery]:
        """Sorts by the number of attempts in flight at the endpoint, then by the time of waiting."""
        last_served: Counter[str] = Counter()
        ranked = []
        for delivery in due:
            if delivery.id not in self._in_flight and delivery.id not in self._skipped:
                in_flight = self._used["endpoint", delivery.endpoint_id]
                ranked.append((in_flight + last_served[delivery.endpoint_id], delivery))
                last_served[delivery.endpoint_id] += 1
        ranked.sort(key=lambda pair: (pair[0], pair[1].next_attempt_at))
        return [delivery for _, delivery in ranked]

    def _admit(self, due: DueDelivery, now: Instant, admitted: Admitted) -> None:
        if not due.endpoint_enabled:
            admitted.disabled.add(due.endpoint_id)
        elif (until := self._paused_until(due, now)) is not None:
            admitted.paused[due.endpoint_id] = until
        elif due.is_ungathered:
            admitted.ungathered.append(due)
        elif (slot := max(self._next_slot.get(due.endpoint_id, 0), due.next_slot_at or 0)) > now:
            if self._slots(due) is not None:
                admitted.next_slot_at = min(slot, admitted.next_slot_at or slot)
        elif self._acquire(due):
            admitted.start.append(due)
            if interval := min_interval(due):
                self._next_slot[due.endpoint_id] = now + interval

    def _paused_until(self, due: DueDelivery, now: Instant) -> Instant | None:
        if due.paused_until is not None and due.paused_until > now:
            return due.paused_until
        if not is_probe(due):
            return None
        if self._used["endpoint", due.endpoint_id]:
            return now + PROBE_WAIT
        if due.next_slot_at is not None and due.next_slot_at > now:
            return min(due.next_slot_at, now + PROBE_WAIT)
        return None

    def _limits(self, due: DueDelivery) -> Iterator[tuple[Slots, int]]:
        """Yields each count in which the delivery uses a slot, with its limit."""
        yield _RELAY, self.concurrency
        yield ("host", due.host), self.per_host
        yield ("endpoint", due.endpoint_id), self._allowed.get(due.endpoint_id, self.per_endpoint)
        if due.owner is not None:
            yield ("key", due.owner), max(1, self.free * (_RESERVE - 1))  # guard: slots-of-one-key
            yield ("key at host", due.owner, due.host), max(1, self.per_host - 1)
        if due.failures or not due.is_proven:
            yield from self._unreliable_limits(due)

    def _unreliable_limits(self, due: DueDelivery) -> Iterator[tuple[Slots, int]]:
        """Like `_limits`, for an endpoint that fails or never succeeded: its attempts may hold their slots for long."""
        at_host: Slots = ("unreliable at host", due.host)
        half_pool, half_of_host = max(1, self.concurrency // 2), max(1, self.per_host // 2)
        yield _UNRELIABLE, half_pool  # guard: slots-of-unproven
        yield at_host, half_of_host
        if due.owner is not None:
            spare = half_pool - self._used[_UNRELIABLE]
            yield ("unreliable of key", due.owner), max(1, spare)  # guard: unproven-of-one-key
            yield ("unreliable of key at host", due.owner, due.host), max(1, half_of_host - self._used[at_host])
        if not due.is_proven:
            yield ("site", due.owner or "", site_of(due.host)), self.per_host

    def _slots(self, due: DueDelivery) -> list[Slots] | None:
        """The counts in which the delivery uses a slot; None if one of them has no slot free."""
        counts = []
        for slots, limit in self._limits(due):
            if self._used.get(slots, 0) >= limit:
                return None
            counts.append(slots)
        return counts

    def _acquire(self, due: DueDelivery) -> bool:
        """Acquires the slots of a delivery, if all are free."""
        if (counts := self._slots(due)) is None:
            return False
        for slots in counts:
            self._used[slots] = self._used.get(slots, 0) + 1
        self._in_flight[due.id] = counts
        if is_probe(due):
            self._allowed[due.endpoint_id] = 1
        return True


class Reservation:
    """Slots for the deliveries that one transaction inserts, as a context manager that frees unused slots at its end.

    The transaction uses it on a thread of the store.
    """

    def __init__(self, admission: AdmissionControl, new_lease: Callable[[], Lease], start: Start) -> None:
        self._admission, self._new_lease, self._start = admission, new_lease, start
        self._lock = threading.Lock()
        self._slots: dict[str, DueDelivery] = {}
        self._over = False

    def __enter__(self) -> "Reservation":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._cancel(over=True)

    def reset(self) -> None:
        """Frees the slots of an earlier try of the transaction; to be called as it begins."""
        self._cancel(over=False)

    def lease(self, new: Sequence[DueDelivery]) -> dict[str, Lease]:
        """Leases, by delivery id, for those that may begin at once: each has a slot. Empty after the context ended."""
        with self._lock:
            admitted = [] if self._over else self._admission.admit_new(new)
            self._slots |= {due.id: due for due in admitted}
            lease = self._new_lease() if admitted else None
            return {due.id: lease for due in admitted if lease is not None}

    async def start(self, leased: Sequence[Leased]) -> None:
        """Starts the attempts of leased deliveries; to be called after the commit."""
        await self._start((lease, endpoint, self._slots.pop(lease.delivery.id)) for lease, endpoint in leased)

    def _cancel(self, over: bool) -> None:
        with self._lock:
            slots, self._slots, self._over = self._slots, {}, self._over or over
        for due in slots.values():
            self._admission.cancel(due)


def is_probe(due: DueDelivery) -> bool:
    """Whether the delivery is sent only while no other attempt is in flight to its endpoint."""
    return circuit_is_open(due.failures)


def min_interval(due: DueDelivery) -> int | None:
    """Milliseconds between the starts of two attempts at the endpoint; None if it has no rate limit."""
    return formats.min_interval(due.format)


def site_of(host_port: str) -> str:
    """The site of a host: its IP address without the port (of IPv6 the /64), or its domain without subdomains.

    It does without the public suffix list: a domain has two labels, or three below a country's `co`, `com` and the
    like.
    """
    host = host_port.rpartition(":")[0]
    labels = host.split(".")
    if host.startswith("[") or labels[-1].isdigit():
        return client_network(host.strip("[]"))
    is_below_country = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3 if is_below_country else -2 :])

"""Replay: what was delivered to one endpoint is sent to it again, for a receiver that lost data.

A replay keeps only a few deliveries due at a time, and none while others are due to its endpoint: so live deliveries
go first, and the receiver sets the pace. Each is one attempt with the same webhook-id and body, a new timestamp and a
signature by today's secret. Neither its success nor its failure counts for the endpoint's health.
"""

from collections.abc import Callable
from functools import partial

from relay import formats
from relay.delivery.endpoint_health import circuit_is_open
from relay.errors import Conflict, NotFound
from relay.model import ID_BYTES, SECOND, Actor, AuditAction, Endpoint, Instant, Replay, new_id
from relay.store import Store, Tx
from relay.store.engine.database import random_bytes
from relay.store.tables import audit, endpoints, replays

WINDOW = 10
"""Deliveries of an endpoint that may be due or in flight while a replay makes more of them due: fewer if the endpoint
takes fewer in a second."""
MAX_ACTIVE = 50
"""Replays that go on at a time; others wait."""


class ReplayFeeder:
    """Goes on with replays."""

    def __init__(self, store: Store, clock: Callable[[], Instant], due: Callable[[], None]) -> None:
        """`due` is called when deliveries were made due."""
        self._store, self._clock, self._due = store, clock, due

    async def tick(self) -> bool:
        """Makes the next deliveries of all replays due. Returns whether any replay goes on. Raises StoreError."""
        now = self._clock()
        active = await self._store.read(lambda tx: replays.active(tx, MAX_ACTIVE))
        for id in active:
            if await self._store.write(partial(step, replay_id=id, now=now), at_end=True):
                self._due()
        return bool(active)


def start(tx: Tx, endpoint_id: str, since: Instant, until: Instant, now: Instant, actor: Actor) -> Replay:
    """Starts a replay of what was delivered from `since` on, before `until`, and writes it to the audit log.

    Raises NotFound; Conflict if the endpoint is disabled or pulled, or a replay of it goes on. Locks the endpoint.
    """
    endpoint = endpoints.lock_many(tx, [endpoint_id]).get(endpoint_id)
    if endpoint is None:
        raise NotFound("endpoint_not_found", "there is no endpoint with this id")
    if not endpoint.enabled:
        text = f"the endpoint {name_of(endpoint)} is disabled: {endpoint.disabled_reason}; enable it first"
        raise Conflict("endpoint_disabled", text)
    if endpoint.is_pulled:
        text = f"nothing is sent to the endpoint {name_of(endpoint)}: its receiver reads the feed, from any cursor"
        raise Conflict("endpoint_pulled", text)
    if replays.active_of(tx, endpoint_id) is not None:
        text = f"a replay to the endpoint {name_of(endpoint)} goes on; wait for its end, or stop it"
        raise Conflict("replay_active", text)
    replay = Replay(
        id=new_id("rpl", now, random_bytes(tx, ID_BYTES)),
        endpoint_id=endpoint_id,
        triggered_by=actor.name,
        since=since,
        until=min(until, now),
        created_at=now,
    )
    audit.add(tx, actor, AuditAction.REPLAY_STARTED, now, endpoint_id, endpoint.name, since=since, until=replay.until)
    replays.add(tx, replay)
    return replay


def stop(tx: Tx, endpoint_id: str, now: Instant, actor: Actor) -> None:
    """Stops the replay of an endpoint, if there is one, and writes it to the audit log.

    What it has made due is still sent.
    """
    replay = replays.active_of(tx, endpoint_id)
    reason = f"stopped by {actor.name}" if actor.name else "stopped"
    if replay is not None and replays.stop(tx, endpoint_id, now, reason):
        audit.add(tx, actor, AuditAction.REPLAY_STOPPED, now, endpoint_id, sent=replay.sent)


def step(tx: Tx, replay_id: str, now: Instant) -> int:
    """Makes the next deliveries of a replay due, if its endpoint can take some. Returns how many.

    A replay whose endpoint is disabled or removed ends.
    """
    replay = replays.lock_active(tx, replay_id)
    if replay is None:
        return 0
    endpoint = endpoints.lock_many(tx, [replay.endpoint_id]).get(replay.endpoint_id)
    if endpoint is None:
        replays.end(tx, replay, now, "the endpoint was removed")
        return 0
    if not endpoint.enabled:
        replays.end(tx, replay, now, f"the endpoint was disabled: {endpoint.disabled_reason}")
        return 0
    if circuit_is_open(endpoint.failures) or (endpoint.paused_until or 0) > now:
        return 0
    interval = formats.min_interval(endpoint.format)
    window = max(1, min(WINDOW, SECOND // interval)) if interval else WINDOW
    number, is_live_due = replays.under_way(tx, endpoint.id, now, window)
    if is_live_due or number >= window:
        return 0
    return replays.send_next(tx, replay, now, window - number).sent - replay.sent


def name_of(endpoint: Endpoint) -> str:
    """The endpoint's name, or its id if it has none."""
    return endpoint.name or endpoint.id

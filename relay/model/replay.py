"""Replays: what was delivered to an endpoint in a stretch of time is sent to it again."""

from dataclasses import dataclass

from relay.times import Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """One replay, and how far it is."""

    id: str
    endpoint_id: str
    triggered_by: str | None
    """Who asked for it, by the name of the API key; None if the relay has no keys."""
    since: Instant
    """It sends what was delivered from this instant on,"""
    until: Instant
    """before this one."""
    created_at: Instant
    walked_at: Instant | None = None
    """The creation of the last delivery that it passed,"""
    walked_id: str | None = None
    """and its id; None before the first."""
    sent: int = 0
    """Deliveries that it made due again."""
    ended_at: Instant | None = None
    reason: str | None = None
    """Why it ended before its end; None if it did not."""

"""A delivery that is due, and what is known of its endpoint: what decides whether its attempt may begin."""

from dataclasses import dataclass

from relay.times import Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class DueDelivery:
    """A due delivery, and the state of its endpoint."""

    id: str
    host: str
    endpoint_id: str
    next_attempt_at: Instant
    endpoint_enabled: bool
    """False also if the endpoint is deleted."""
    format: str
    paused_until: Instant | None
    failures: int
    """Failed attempts in a row at the endpoint."""
    is_proven: bool = True
    """As `Endpoint.is_proven`."""
    next_slot_at: Instant | None = None
    """When another relay's attempt at the endpoint lets the next one begin."""

"""A due delivery with the state of its endpoint, from which admission control decides whether it may start."""

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
    owner: str | None = None
    """As `Delivery.owner`."""
    is_ungathered: bool = False
    """It is not sent, but gathered into its endpoint's digest."""
    next_slot_at: Instant | None = None
    """Before this instant another relay's attempt at the endpoint excludes others."""

"""Holding news back: quiet hours and digests hold news of success at chats and e-mail; failures pass."""

from dataclasses import dataclass

from relay.model import AnyEventType, Endpoint, EventType, Instant, digest_due, quiet_until

HELD_TYPES = (EventType.STARTED, EventType.COMPLETED, EventType.CANCELLED)
"""What is held: a failure may need somebody now."""


@dataclass(frozen=True, slots=True)
class Hold:
    """News that are not sent yet."""

    until: Instant
    reason: str
    """What holds them, for people."""
    is_gathered: bool
    """Whether they wait for the endpoint's digest, instead of being sent one by one."""


def hold_of(endpoint: Endpoint, type: AnyEventType, now: Instant) -> Hold | None:
    """What holds news of this type at the endpoint; None if they may be sent now.

    A digest that would be due in the quiet hours is due at their end: the morning's news are one message.
    """
    if type not in HELD_TYPES:
        return None
    due_at = digest_due(endpoint.digest, now)
    quiet = quiet_until(endpoint.quiet, now if due_at is None else due_at)
    by_quiet = f"held by the quiet hours {endpoint.quiet}"
    if due_at is None:
        return None if quiet is None else Hold(quiet, by_quiet, is_gathered=False)
    gathered = f"waits for the digest: what happens within {endpoint.digest} is sent as one message"
    return Hold(quiet or due_at, f"{by_quiet}; {gathered}" if quiet else gathered, is_gathered=True)

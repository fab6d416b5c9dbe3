"""Living messages: one message of a chat for each job and endpoint, which changes as the job does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from relay.times import Instant


class MessageState(StrEnum):
    """States only move forward: `posting`, then `posted`, then `ended`."""

    POSTING = "posting"  # a post was begun; its answer is not stored
    POSTED = "posted"  # the message says that the job has started
    ENDED = "ended"  # the message says how the job ended


@dataclass(frozen=True, slots=True, kw_only=True)
class LivingMessage:
    """The message about one job at one endpoint."""

    workspace: str
    job_id: str
    endpoint_id: str
    state: MessageState
    address: Mapping[str, str] = field(default_factory=dict)
    """Where it is, as the service's answer said: of Slack `channel` and `ts`, of Discord `id`. Empty until then."""
    posting_since: Instant
    mentioned: bool = False
    """Whether the requester was mentioned, or a request that mentions them was begun."""
    leased_until: Instant | None = None
    """Until then one delivery works on the message, and all others wait."""

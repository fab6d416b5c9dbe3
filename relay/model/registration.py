"""Registrations: the jobs that endpoints wait for."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from relay.model.event import EventType
from relay.times import Instant


class RegistrationStatus(StrEnum):
    ACTIVE = "active"
    SETTLED = "settled"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """One job for one endpoint. `endpoint_id` is None if the job is watched for the standing endpoints only."""

    id: str
    workspace: str
    job_id: str
    endpoint_id: str | None
    status: RegistrationStatus
    events: tuple[EventType, ...]
    metadata: Mapping[str, Any]
    created_at: Instant
    trace: str | None = None
    """The trace context that its deliveries continue (`relay.telemetry.trace_context`)."""
    owner: str | None = None
    """The name of the API key that made it; "" without keys, None if it is unknown."""
    requested_by: str | None = None
    """Who wants the scenario: an e-mail address or a name."""
    prompt: str | None = None
    """The beginning of the prompt, if the relay created the job."""
    request_id: str | None = None
    """The request_id that Exec got, if the relay created the job."""

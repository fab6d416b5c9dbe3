"""What the client returns. `raw` of each is the relay's JSON, with fields that are not listed here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relay.times import Instant, from_rfc3339


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the relay knows it."""

    job_id: str
    workspace: str
    ended: bool
    """Whether nothing more will come."""
    state: str
    """The relay's: `active`, `settled`, `not_found`, `expired` or `withdrawn`."""
    status: str | None
    """Exec's: `completed`, `failed`, `cancelled`, or whatever it is before; None if Exec was not asked yet."""
    scenario_url: str | None
    error: str | None
    """Exec's reason if the job failed, else why the relay gave it up."""
    raw: Mapping[str, Any] = field(repr=False)

    @property
    def completed(self) -> bool:
        """Whether the scenario is ready."""
        return self.ended and self.status == "completed"


@dataclass(frozen=True, slots=True)
class Registration:
    """A registration: its id, and what the relay notifies."""

    id: str
    job_id: str
    workspace: str
    secret: str | None = field(repr=False)
    """The signing secret, if the relay has just made one: it is not shown again."""
    is_new: bool
    """Whether this call made it; else it was there."""
    raw: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CreatedJob:
    """A job that Exec has created, or had created already for the same request."""

    job_id: str
    request_id: str
    registration: Registration
    raw: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Event:
    """An event of the feed."""

    id: str
    """The same however often and by whichever way it comes: what to deduplicate by."""
    type: str
    job_id: str
    workspace: str
    occurred_at: Instant
    created_at: Instant
    body: Mapping[str, Any]
    """The body of a notification."""
    cursor: str
    """Goes on after this event; keep it with what you made of the event."""
    signed_headers: Mapping[str, str] | None
    """With `endpoint`: the headers that `verify` takes, with `signed_body`."""
    signed_body: str | None
    raw: Mapping[str, Any] = field(repr=False)


def job_of(raw: Mapping[str, Any]) -> Job:
    """A job out of the relay's JSON."""
    at_exec = raw.get("job") or {}
    error = at_exec.get("error") or {}
    scenario = at_exec.get("scenario") or {}
    return Job(
        job_id=raw["job_id"],
        workspace=raw["workspace"],
        ended=raw["ended"] is True,
        state=raw["state"],
        status=at_exec.get("status"),
        scenario_url=scenario.get("url") if isinstance(scenario, Mapping) else None,
        error=(error.get("message") or error.get("code")) if isinstance(error, Mapping) else str(error),
        raw=raw,
    )


def registration_of(raw: Mapping[str, Any], is_new: bool) -> Registration:
    """A registration out of the relay's JSON."""
    secret = (raw.get("endpoint") or {}).get("secret") or None
    return Registration(raw["id"], raw["job_id"], raw["workspace"], secret, is_new, raw)


def created_of(raw: Mapping[str, Any], is_new: bool) -> CreatedJob:
    """A created job out of the relay's JSON."""
    return CreatedJob(raw["job"]["id"], raw["request_id"], registration_of(raw["registration"], is_new), raw)


def event_of(raw: Mapping[str, Any]) -> Event:
    """An event out of the relay's JSON."""
    signed = raw.get("signed") or {}
    return Event(
        id=raw["id"],
        type=raw["type"],
        job_id=raw["job_id"],
        workspace=raw["workspace"],
        occurred_at=from_rfc3339(raw["occurred_at"]) or 0,
        created_at=from_rfc3339(raw["created_at"]) or 0,
        body=raw["body"],
        cursor=raw["cursor"],
        signed_headers=signed.get("headers"),
        signed_body=signed.get("body"),
        raw=raw,
    )

"""The words of the relay as values: what its parts hand to each other.

Every instant is an `Instant`: whole milliseconds since 1970-01-01T00:00Z. All values are frozen; a change is a new
value (`dataclasses.replace`).
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ModelWrapValidatorHandler, PrivateAttr, model_validator
from ulid import ULID

from relay.times import DAY as DAY
from relay.times import HOUR as HOUR
from relay.times import MINUTE as MINUTE
from relay.times import SECOND as SECOND
from relay.times import Instant as Instant
from relay.times import from_rfc3339 as from_rfc3339
from relay.times import to_rfc3339 as to_rfc3339

JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""What the relay accepts as a job id; Exec's schema says only `string`, its examples show 12 alphanumerics."""


def new_id(prefix: str, now: Instant) -> str:
    """A time-ordered id such as `reg_01JC4Z...`: the prefix and a ULID of `now`."""
    return f"{prefix}_{ULID.from_timestamp(now / 1_000)}"


def event_id(workspace: str, job_id: str, type: "EventType") -> str:
    """The id of an event, and so its `webhook-id`: derived, so that no two replicas can mint two for one fact."""
    digest = hashlib.sha256(f"{workspace}\n{job_id}\n{type.value}".encode()).digest()
    return "evt_" + base64.b32hexencode(digest[:16]).decode().rstrip("=")


# --- Exec's side -----------------------------------------------------------------------------------------------


def _text_or_none(sent: Any) -> Any:
    return sent if isinstance(sent, str) else None


def _number_or_none(sent: Any) -> Any:
    return sent if isinstance(sent, int | float) and not isinstance(sent, bool) else None


# An otherwise good job is not refused for a field that the relay only shows: of another type, it counts as absent.
_Text = Annotated[str | None, BeforeValidator(_text_or_none)]
_Number = Annotated[int | float | None, BeforeValidator(_number_or_none)]


class Scenario(BaseModel):
    """`scenario` of Exec's ScenarioJob, present only when the job completed."""

    model_config = ConfigDict(extra="allow", frozen=True)
    id: _Text = None
    name: _Text = None
    url: _Text = None


class JobError(BaseModel):
    """`error` of Exec's ScenarioJob, present only when the job failed; codes are an open set."""

    model_config = ConfigDict(extra="allow", frozen=True)
    code: _Text = None
    message: _Text = None


class ScenarioJob(BaseModel):
    """Exec's ScenarioJob (page 'Get Scenario job status'), fields unknown here kept.

    `status` is an open set: one never seen before is not terminal. Timestamps are kept as Exec wrote them;
    `created`, `started` and `ended` are their instants, None where absent or nonsense. `id` and `status` are texts,
    `scenario` and `error` objects or null, or it is no job; any other field of the wrong type counts as absent.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    id: str
    status: str
    scenario: Scenario | None = None
    error: JobError | None = None
    created_at: _Text = None
    started_at: _Text = None
    completed_at: _Text = None
    duration_seconds: _Number = None
    _sent: dict[str, Any] | None = PrivateAttr(None)
    """What came, where a field of it counts as absent."""

    @model_validator(mode="wrap")
    @classmethod
    def _keep_what_counts_as_absent(cls, sent: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        job = handler(sent)
        plain = isinstance(sent, dict) and not any(isinstance(part, BaseModel) for part in sent.values())
        if plain and job.as_exec_sent_it() != sent:
            job._sent = sent
        return job

    @property
    def created(self) -> Instant | None:
        return from_rfc3339(self.created_at)

    @property
    def started(self) -> Instant | None:
        return from_rfc3339(self.started_at)

    @property
    def ended(self) -> Instant | None:
        return from_rfc3339(self.completed_at)

    @property
    def ending(self) -> "EventType | None":
        """The event that this status means, None while the job is still going on."""
        return _ENDING_OF_STATUS.get(self.status)

    def as_exec_sent_it(self) -> dict[str, Any]:
        """The JSON object that came, with nothing added, dropped or renamed."""
        return self.model_dump(mode="json", exclude_unset=True) if self._sent is None else deepcopy(self._sent)


# --- the relay's side ------------------------------------------------------------------------------------------


class EventType(StrEnum):
    """The facts that subscribers can hear of."""

    STARTED = "job.started"
    COMPLETED = "job.completed"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"
    NOT_FOUND = "job.not_found"
    EXPIRED = "job.expired"


ENDINGS = (EventType.COMPLETED, EventType.FAILED, EventType.CANCELLED, EventType.NOT_FOUND, EventType.EXPIRED)
"""What a subscriber hears of unless it says otherwise; `job.started` is opt-in."""

_ENDING_OF_STATUS = {
    "completed": EventType.COMPLETED,
    "failed": EventType.FAILED,
    "cancelled": EventType.CANCELLED,
}


class WatchState(StrEnum):
    """`active` is looked at; the others are not."""

    ACTIVE = "active"
    SETTLED = "settled"  # Exec said how it ended
    NOT_FOUND = "not_found"  # Exec does not know it
    EXPIRED = "expired"  # not ended within polling.max_age
    WITHDRAWN = "withdrawn"  # nobody waits for it any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """The relay's polling record of one job."""

    workspace: str
    job_id: str
    state: WatchState
    created_at: Instant
    job: ScenarioJob | None = None
    """As last seen at Exec; None before the first good look."""
    looks: int = 0
    last_look_at: Instant | None = None
    next_look_at: Instant | None = None
    """None unless `active`."""
    next_look_why: str = ""
    failures: int = 0
    """Failed looks since the last good one."""
    missing: int = 0
    """Looks in a row that Exec answered with 404."""
    missing_since: Instant | None = None
    last_error: str | None = None
    ended_at: Instant | None = None
    """When the watch left `active`."""
    exec_callback: bool = False
    """Exec was given the relay's callback with this job: until it comes, only safety looks are made."""
    hinted_at: Instant | None = None
    """When Exec's callback, which is only a hint, was last heeded."""
    hints: int = 0
    """Hints in a row that a look did not bear out."""
    unconfirmed_since: Instant | None = None
    """When a hint named a job that nobody had registered; None once Exec knows the job, or somebody registers it."""
    trace: str | None = None
    """That of the registration which began the watch, as `relay.traces` has it."""

    @property
    def is_hinted(self) -> bool:
        """Whether a hint came that no look was made for since."""
        return self.hinted_at is not None and (self.last_look_at is None or self.last_look_at < self.hinted_at)


class EndpointKind(StrEnum):
    STANDING = "standing"
    AD_HOC = "ad_hoc"


@dataclass(frozen=True, slots=True)
class Secret:
    """A signing secret (`whsec_...`); one that was rotated away signs beside the new one until `until`."""

    value: str = field(repr=False)
    until: Instant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A subscriber, as the relay knows it."""

    id: str
    kind: EndpointKind
    name: str | None
    url: str = field(repr=False)
    host: str
    """`host:port` of the URL: what the per-host limits count."""
    format: str
    """Never `auto`: that is resolved when the endpoint is made."""
    template: str | None = field(default=None, repr=False)
    """Of the format `template`: the body, as JSON with placeholders."""
    events: tuple[EventType, ...]
    secrets: tuple[Secret, ...] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    created_at: Instant
    source: str = "api"
    """`config` or `api`: one from the configuration is changed there only."""
    disabled_at: Instant | None = None
    disabled_reason: str | None = None
    paused_until: Instant | None = None
    failing_since: Instant | None = None
    """The first failed attempt since the last success; None while healthy."""
    failures: int = 0
    """Failed attempts since the last success."""

    @property
    def enabled(self) -> bool:
        return self.disabled_at is None

    @property
    def own_format(self) -> str:
        """What of its format tells two endpoints with one URL apart: its name, and its template where it has one."""
        return own_format(self.format, self.template)


def own_format(format: str, template: str | None) -> str:
    """A format's name, with the template that makes it one's own."""
    return format if template is None else f"{format}:{template}"


class RegistrationStatus(StrEnum):
    ACTIVE = "active"
    SETTLED = "settled"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """One job × one endpoint. `endpoint_id` is None where the job is watched for the standing endpoints only."""

    id: str
    workspace: str
    job_id: str
    endpoint_id: str | None
    status: RegistrationStatus
    events: tuple[EventType, ...]
    metadata: Mapping[str, Any]
    created_at: Instant
    trace: str | None = None
    """What ties it to its deliveries, as `relay.traces` has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The immutable fact. Its id is the `webhook-id` of every delivery of it."""

    id: str
    workspace: str
    job_id: str
    type: EventType
    occurred_at: Instant
    """When it happened: Exec's completed_at where it gives one, else when the relay saw it."""
    job: Mapping[str, Any]
    created_at: Instant


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event × one endpoint: the outbox row. The body is made once and sent verbatim on every attempt."""

    id: str
    event_id: str
    event_type: EventType
    workspace: str
    job_id: str
    endpoint_id: str
    registration_id: str | None
    status: DeliveryStatus
    body: bytes = field(repr=False)
    attempts: int
    """Attempts made, by schedule or by hand."""
    tries: int
    """Attempts of the present run through the schedule; a resend starts it anew."""
    created_at: Instant
    next_attempt_at: Instant | None
    """None unless `pending`. While an attempt is under way: when its lease runs out."""
    ended_at: Instant | None = None
    reason: str | None = None
    """Why it failed or was cancelled, in words."""
    trace: str | None = None
    """That of its registration, else of the job's watch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One HTTP try of a delivery."""

    id: str
    delivery_id: str
    number: int
    trigger: str
    """`schedule`, `resend` or `test`."""
    started_at: Instant
    duration_ms: int
    status_code: int | None
    """None where no answer came."""
    outcome: str
    """`delivered`, or the kind of failure: `status`, `redirect`, `timeout`, `connection`, `blocked`, ..."""
    error: str | None
    response: str
    """The first 4 KiB of the answer's body."""
